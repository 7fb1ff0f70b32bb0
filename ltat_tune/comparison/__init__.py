"""Comparison of studies: the configurations compared, the tables, the papers' published rows.

May import `preflight`, `results` and what stands below. Export, pages, the API and the commands
import it.
"""
