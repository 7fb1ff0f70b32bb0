"""Hyperparameter studies of adversarial training on long-tailed data."""

__version__ = "0.3.0"
