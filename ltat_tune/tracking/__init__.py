"""The one door to MLflow; nothing here imports it before a store is opened."""

from __future__ import annotations

from ltat_tune.tracking.models import ModelFiles
from ltat_tune.tracking.store import attach, attach_files, public_uri, tracking_uri
from ltat_tune.tracking.tracker import Tracker
from ltat_tune.tracking.view import View
from ltat_tune.tracking.writes import Images

__all__ = [
    "Images",
    "ModelFiles",
    "Tracker",
    "View",
    "attach",
    "attach_files",
    "public_uri",
    "tracking_uri",
]
