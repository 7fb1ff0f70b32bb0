"""Hyperparameter studies of adversarial training on long-tailed data."""

__version__ = "0.1.0"
