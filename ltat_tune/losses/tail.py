"""REAT's regulariser of tail features in three forms: the paper's, the released and a bounded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.losses.counts import checked_counts
from ltat_tune.losses.precision import full_precision


def tail_classes(samples_per_class: Tensor, tail_set: str) -> Tensor:
    """Return which classes are tail: (K,) -> (K,) bool, on the counts' device.

    Classes are sorted by count, the most frequent first, ties by index. `paper` is ceil(2K/3)..K
    counted from 1 (REAT 4). `released` is range(2 (K // 3) + 1, K) counted from 0. The two give
    4 and 3 of 10 classes, 34 and 33 of 100, both 67 of 200, and 2 and none of 3.

    Raises:
        ConfigError: `tail_set` is unknown, or a class has no images.
    """
    if tail_set not in ("paper", "released"):
        raise ConfigError(f"unknown tail_set {tail_set!r}; choose from: paper, released")
    counts = checked_counts(samples_per_class)
    order = torch.sort(counts, descending=True, stable=True).indices
    k = len(counts)
    first = -(-2 * k // 3) - 1 if tail_set == "paper" else 2 * (k // 3) + 1
    tail = torch.zeros(k, dtype=torch.bool, device=counts.device)
    tail[order[first:]] = True
    return tail


def _divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p_i || q_j) for all pairs of rows: (N, D), (N, D) -> (N, N)."""
    p = log_p.exp()
    # A shift per column cancels in log p - log q. Subtracting the columns' means makes the two
    # terms of the difference small: the result is ten times as accurate in float32 where features
    # are close, and a thousand times where a GPU multiplies in TF32.
    centre = log_q.detach().mean(dim=0)
    log_p, log_q = log_p - centre, log_q - centre
    return (p * log_p).sum(dim=1)[:, None] - p @ log_q.T


class TailLoss(nn.Module):
    """TAIL: pushes tail features away from other classes and pulls those of a class together.

    p is the softmax of the features, w_c = sqrt(sum N / N_c), T the set of tail samples in the
    batch, S their number, and s_ij is 1 for samples of different classes and -1 for those of one:

        paper:     -1/(B S) sum_{i in T} sum_j s_ij (w_{y_i} + w_{y_j}) KL(p_j || p_i)
        bounded:   the same, but the KL of different classes counts at most as `kl_max`
        released:  1/S sum_{i in T} kbar_i c_i,  kbar_i = 1/(B D) sum_j KL(sg[p_i] || p_j),
                   c_i = 1/B sum_j s_ij (w_{y_i} + w_{y_j}),  sg a stop-gradient

    A batch without a tail sample gives 0 with zero gradient.

    `paper` has no lower bound and diverges. Only pairs of different classes cause this, so
    `bounded` caps only them. A capped pair has no gradient, and a pair of one class, whose KL is
    minimised, needs its gradient most when it is far apart. `bounded` is therefore never below
    -2 max(w) kl_max. `released` has the opposite sign and does not distinguish pairs: it pulls all
    samples towards the tail.

    Source: REAT Eq. 3 and Algorithm 1, arXiv:2307.10205; GuanlinLee/REAT@a7909fd `REAT`.
    Deviations: `bounded` is an addition of this package. The release's double loop is written in
        closed form.

    Args:
        samples_per_class: training images per class, shape (K,), all >= 1.
        variant: `bounded`, `paper` or `released`.
        tail_set: the definition of tail classes, see `tail_classes`.
        kl_max: cap on the KL of a pair in `bounded`, in nats, > 0.
        detach_anchor: a tail sample gets no gradient as the anchor i, only as the j of other
            anchors. `released` always does this.

    Raises:
        ConfigError: `variant` or `tail_set` is unknown, or a class has no images.
    """

    weights: Tensor
    tail: Tensor

    def __init__(
        self,
        samples_per_class: Tensor,
        *,
        variant: str = "bounded",
        tail_set: str = "paper",
        kl_max: float = 0.1,
        detach_anchor: bool = False,
    ) -> None:
        super().__init__()
        if variant not in ("bounded", "paper", "released"):
            raise ConfigError(
                f"unknown variant {variant!r}; choose from: bounded, paper, released"
            )
        counts = checked_counts(samples_per_class)
        self.register_buffer("weights", (counts.sum() / counts).sqrt().float())
        self.register_buffer("tail", tail_classes(samples_per_class, tail_set))
        self.variant = variant
        self.kl_max = kl_max
        self.detach_anchor = detach_anchor

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:  # (N, D), (N,) -> ()
        log_p = F.log_softmax(full_precision(features), dim=1)
        weights = self.weights.to(log_p)[targets]  # (N,)
        same = targets[:, None] == targets[None, :]  # (N, N)
        joint = weights[:, None] + weights[None, :]
        if self.variant == "released":
            signed = torch.where(same, -joint, joint).mean(dim=1)  # c_i, (N,)
            kl = _divergences(log_p.detach(), log_p).mean(dim=1) / log_p.shape[1]
            anchored = kl * signed
        else:
            # Rows are anchors i, columns are the other samples j.
            kl = _divergences(log_p, log_p.detach() if self.detach_anchor else log_p).T
            if self.variant == "bounded":
                kl = torch.where(same, kl, kl.clamp(max=self.kl_max))
            anchored = (torch.where(same, joint, -joint) * kl).mean(dim=1)
        # Masks instead of indices keep shapes fixed, and no count is fetched from the device.
        tail = self.tail[targets]  # (N,)
        return (anchored * tail).sum() / tail.sum().clamp_min(1)
