"""The one door to MLflow; nothing here imports it before a store is opened."""

from __future__ import annotations

from ltat_tune.tracking.store import attach, attach_files, public_uri, tracking_uri
from ltat_tune.tracking.tracker import Tracker

__all__ = ["Tracker", "attach", "attach_files", "public_uri", "tracking_uri"]
