"""Commands about training scripts of the user's own."""
