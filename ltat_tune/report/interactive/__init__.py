"""What the page shows of single trials: those that run now, and each that a reader opens."""
