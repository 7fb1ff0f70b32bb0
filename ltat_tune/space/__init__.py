"""A study's question: the space file read, checked for its form, and turned into configurations.

May import `config`, and `data` for what a file can name. Search, storage and all that stands above
them import it.
"""
