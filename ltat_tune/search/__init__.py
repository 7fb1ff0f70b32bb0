"""Which configuration trains next, and how far. Knows Optuna, and nothing of Ray.

May import `space` and what stands below. Storage, planning, results and the engine import it.
"""
