"""Training and measuring of one configuration. Every trial uses the same trainer.

This package does not depend on Ray, Optuna or MLflow. May import `methods`, `attacks`, `models`,
`losses`, `data` and what stands below. Storage, evaluation, the engine and the API import it.
"""
