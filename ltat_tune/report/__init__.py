"""The report: a study's results as one HTML file that needs no other file.

May import `comparison`, `export` and what stands below. The API and the commands import it.
Neither this package nor `figures` imports the other.
"""
