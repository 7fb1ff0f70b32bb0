"""REAT's class weights for the attack, computed from the predictions of the last epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.errors import ConfigError
from ltat_tune.losses.counts import checked_counts


def rbl_weights(samples_per_class: Tensor, predicted: Tensor) -> Tensor:
    """Return class weights by the effective number of predictions, (K,) float32 with sum K.

    w_c ~ 1 / (E_c + 1e-5) with E_c = N_c (1 - (1 - 1 / N_c)^n_c). A class that was never predicted
    (n_c = 0) takes nearly the whole sum, and several such classes share it. If no class was
    predicted, every weight is 1. Before the first epoch n is N, so that E_c is about 0.632 N_c.

    Source: REAT Eq. 1, arXiv:2307.10205; GuanlinLee/REAT@a7909fd `RBL` (the 1e-5).
    Deviations: the weights are computed in float64; the release's float32 has errors of up to 1e-4
        of E. A class of one image has E = 0 for n = 0 and E = 1 otherwise, because 0^0 = 1.

    Args:
        samples_per_class: N, training images per class, shape (K,), all >= 1.
        predicted: n, last epoch's adversarial images by predicted class, shape (K,), all >= 0.

    Raises:
        ConfigError: a class has no images, or `predicted` has another shape or negative values.
    """
    effective = effective_numbers(samples_per_class, predicted)
    weights = 1 / (effective + 1e-5)
    return (len(effective) * weights / weights.sum()).float()


def effective_numbers(samples_per_class: Tensor, predicted: Tensor) -> Tensor:
    """Return E_c = N_c (1 - (1 - 1 / N_c)^n_c) of `rbl_weights`, (K,) float64.

    Raises:
        ConfigError: a class has no images, or `predicted` has another shape or negative values.
    """
    counts = checked_counts(samples_per_class)
    if predicted.shape != counts.shape or not bool((predicted >= 0).all()):
        raise ConfigError(
            f"predicted must hold a number >= 0 for each of the {len(counts)} classes, "
            f"got {predicted.tolist()}"
        )
    n = predicted.detach().to(counts)
    # -expm1(n log1p(-1/N)) keeps the digits that 1 - (1 - 1/N)^n loses for large N. For N = 1 the
    # logarithm is -inf, and 0 times -inf is NaN, so n = 0 is a case of its own.
    return -torch.expm1(torch.where(n == 0, 0.0, n * torch.log1p(-1 / counts))) * counts
