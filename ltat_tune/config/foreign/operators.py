"""Makes torchvision importable beside a torch that it was not compiled for.

torchvision describes two compiled operators, `nms` and `qnms`, when it is imported. Beside
another torch, such as a CPU build, they are missing and the import fails. Its data sets,
transforms and classifiers never call them, so it is enough to declare them.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from typing import Any

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # torch drops a declaration when its library object is deleted


def import_beside_torch(name: str) -> Any:
    """Import torchvision, or a module that imports it, and declare what is missing.

    Raises:
        ImportError, OSError, RuntimeError: the module cannot be imported for another reason.
    """
    try:
        return _import(name)
    except RuntimeError as error:
        if not re.search(r"operator torchvision::\w+ does not exist", str(error)):
            raise
        _declare()
        for half in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[half]
        return _import(name)


def missing_operators() -> tuple[str, ...]:
    """Return the operators that had to be declared, because torchvision was imported without."""
    return _OPERATORS if _declared else ()


def _import(name: str) -> Any:
    with warnings.catch_warnings():
        # The warning is about torchvision.io's JPEG decoder; here Pillow decodes.
        warnings.filterwarnings("ignore", message="Failed to load (image|'image')")
        return importlib.import_module(name)


def _declare() -> None:
    import torch

    if _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SCHEMA)
    _declared.append(library)
