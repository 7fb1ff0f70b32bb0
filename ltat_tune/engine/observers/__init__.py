"""What is told of a study while it runs: the live view and the runs in MLflow.

May import what the engine may, and nothing that drives. The driver calls `observer`.
"""
