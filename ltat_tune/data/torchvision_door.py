"""The only module that imports torchvision. Its data sets and transforms need no compiled part.

torchvision cannot be imported beside a torch that it was not compiled for (such as a CPU build),
because it describes two compiled operators, `nms` and `qnms`, that are then missing. This package
never calls them, so it is enough to declare them.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from typing import Any

from ltat_tune.errors import DataError

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # torch drops a declaration when its library object is deleted


def import_torchvision(submodule: str = "") -> Any:
    """Import torchvision or one of its submodules: `import_torchvision("transforms.v2")`.

    Raises:
        DataError: torchvision is missing or cannot be imported. The error names a remedy.
    """
    name = f"torchvision.{submodule}" if submodule else "torchvision"
    import torch  # here, because reading a space file must not take the seconds of this import

    try:
        try:
            return _import(name)
        except RuntimeError as error:
            if not re.search(r"operator torchvision::\w+ does not exist", str(error)):
                raise
            _declare_operators()
            _forget_half_imported()
            return _import(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise DataError(
            f"torchvision, which reads the official data sets, cannot be imported beside torch "
            f"{torch.__version__} ({type(error).__name__}: {error}); install the torchvision that "
            "matches this torch, from the same package index"
        ) from error


def _import(name: str) -> Any:
    with warnings.catch_warnings():
        # The warning is about torchvision.io's JPEG decoder; here Pillow decodes.
        warnings.filterwarnings("ignore", message="Failed to load (image|'image')")
        return importlib.import_module(name)


def _declare_operators() -> None:
    import torch

    if _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SCHEMA)
    _declared.append(library)


def _forget_half_imported() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
