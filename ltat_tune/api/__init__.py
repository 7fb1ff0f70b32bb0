"""The Python interface: `Study`, `evaluate` and what they return, for notebooks and scripts.

May import every package except `cli`. Only `ltat_tune` itself exports these names.
"""
