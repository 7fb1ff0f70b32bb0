"""The driver of a study: its work queue, searches, worker, budget, live view and recovery.

May import everything but `api` and `cli`; only those two import it.
"""
