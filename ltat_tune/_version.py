"""The version, in a separate module so that every package can import it."""

from __future__ import annotations

__version__ = "0.4.0"
