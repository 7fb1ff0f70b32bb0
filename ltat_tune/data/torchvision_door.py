"""The door to torchvision for the package's own code, with an error that names a remedy."""

from __future__ import annotations

from typing import Any

from ltat_tune.config.foreign.operators import import_beside_torch
from ltat_tune.errors import DataError


def import_torchvision(submodule: str = "") -> Any:
    """Import torchvision or one of its submodules: `import_torchvision("transforms.v2")`.

    Raises:
        DataError: torchvision is missing or cannot be imported. The error names a remedy.
    """
    import torch  # here, because reading a space file must not take the seconds of this import

    try:
        return import_beside_torch(f"torchvision.{submodule}" if submodule else "torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        raise DataError(
            f"torchvision, which has the official data sets and networks, cannot be imported "
            f"beside torch {torch.__version__} ({type(error).__name__}: {error}); install the "
            "torchvision that matches this torch, from the same package index"
        ) from error
