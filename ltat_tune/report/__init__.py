"""The report: what a study found, as one HTML file that needs nothing else.

May import `comparison`, `export` and what stands below. The API and the commands import it.
Neither this package nor `figures` imports the other.
"""
