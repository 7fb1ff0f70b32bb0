"""Image data: reading data sets, cutting long-tailed subsets, and batching images.

May import `config` and what stands below. Training and everything above it import this package.
"""
