"""Trained models under attack: what they hold, how sure that is, and when not to believe it."""
