"""MCAT's penalty on the geometry of the classifier's weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision


def etf_penalty(weight: Tensor) -> Tensor:
    """Return the mean squared distance of the rows' cosines from those of a simplex, shape ().

    The rows of a simplex equiangular tight frame have cosines of 1 with themselves and
    -1 / (K - 1) with each other. The penalty is 0 for such rows (which need D >= K - 1) and
    1 / (K (K - 1)) for orthogonal rows.

    Source: MCAT (IJCAI 2026) R_geom, appendix; yneversky/MCAT@f19c2af.

    Args:
        weight: one row for each of K >= 2 classes, shape (K, D).
    """
    rows = F.normalize(full_precision(weight), dim=1)
    k = len(rows)
    itself = torch.eye(k, dtype=rows.dtype, device=rows.device)
    simplex = itself - (1 - itself) / (k - 1)
    return (rows @ rows.T - simplex).square().mean()
