"""The searcher `predict`: a surrogate of final scores, and what it chooses to train.

May import what `search` may, and of `search` the modules beside it. The engine asks `chooser`.
"""
