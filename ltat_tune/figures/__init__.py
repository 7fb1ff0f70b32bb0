"""The figures of both papers, and a few that neither has, drawn from what was trained."""
