"""The only door to Ray: sessions, clusters, nodes, the scheduler, and the in-process backend.

May import `storage` and what stands below. Planning, evaluation and the engine import it; no other
module imports `ray`.
"""
