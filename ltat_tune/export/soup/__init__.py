"""Soups of a study: averages of trials that share a start, chosen on the validation images.

May import `comparison`, `evaluation` and what stands below. The commands import it.
"""
