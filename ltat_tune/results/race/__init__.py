"""How fair the race between methods, losses and other choices was, and how sure its order is.

May import `search`, `space`, `storage` and the models of `results`. The collector imports it.
"""
