"""Reads a space file, checks its form and turns it into configurations.

May import `config`, and `data` for the data sets that a file can name. Search, storage and all
packages above them import it.
"""
