"""Attacks on trained models: measured parts, result cards, and the sentinel for gradient masking.

May import `results`, `storage`, `backend` and what stands below. Preflight, export, pages and the
engine import it.
"""
