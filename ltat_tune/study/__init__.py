"""Search: the space file, Optuna's proposals, Ray's trials, ASHA, confirmation and results."""
