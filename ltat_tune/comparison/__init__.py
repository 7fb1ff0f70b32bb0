"""Studies side by side: which configurations are compared, the tables, the papers' published rows.

May import `preflight`, `results` and what stands below. Export, pages, the API and the commands
import it.
"""
