"""Training and measuring one configuration: the one trainer that every trial uses.

Knows nothing of Ray, Optuna or MLflow. May import `methods`, `attacks`, `models`, `losses`, `data`
and what stands below. Storage, evaluation, the engine and the API import it.
"""
