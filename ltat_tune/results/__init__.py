"""The results of a study: winners, their leads, importance, summaries, one trial in full.

May import `planning`, `storage`, `search` and what stands below. Preflight, comparison, export,
pages and the engine import it.
"""
