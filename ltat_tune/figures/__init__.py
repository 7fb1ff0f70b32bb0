"""The figures of both papers, and a few that neither has, drawn from finished trainings.

May import `export` and what stands below. The engine, the API and the commands may import it.
Neither this package nor `report` imports the other.
"""
