"""Training and measuring one configuration."""
