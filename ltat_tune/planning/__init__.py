"""Estimates what a study takes before it runs: epochs, hours, memory, disk, slots, GPU shares.

May import `backend`, `storage`, `search` and what stands below. Preflight and the engine import
it.
"""
