"""What a study will take before it takes it: epochs, hours, memory, disk, slots, shares of a GPU.

May import `backend`, `storage`, `search` and what stands below. Preflight and the engine import
it.
"""
