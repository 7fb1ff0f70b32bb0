"""The only package that talks to MLflow. It imports MLflow when a store is opened.

May import `training` and what stands below. Evaluation, export, the engine and the commands import
it.
"""

from __future__ import annotations

from ltat_tune.tracking.experiment_view import View
from ltat_tune.tracking.model_registry import ModelFiles
from ltat_tune.tracking.recorder import RunImages
from ltat_tune.tracking.store import attach, attach_files, public_uri, tracking_uri
from ltat_tune.tracking.tracker import Tracker

__all__ = [
    "RunImages",
    "ModelFiles",
    "Tracker",
    "View",
    "attach",
    "attach_files",
    "public_uri",
    "tracking_uri",
]
