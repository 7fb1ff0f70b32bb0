"""PGD-AT, TRADES and MART, each image's loss times a factor of its class: DAFA to WAT."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltat_tune.attacks import TrainingAttack
from ltat_tune.losses import (
    faal_coefficients,
    faal_weights,
    image_kl,
    mart_consistencies,
    mart_margins,
    wat_costs,
    weighted_images,
)
from ltat_tune.methods.base import StepOutput
from ltat_tune.models import Classifier

# (logits of the adversarial images (N, K), targets (N,)) -> the factors on the prediction loss and
# on the other terms, (K,) each; None is 1 for all classes
FactorsOf = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]


class ClassWeighted:
    """The mean over images of v_y L_i + beta u_y R_i, where v and u are factors by class.

    L_i is the prediction loss of an image. R_i is TRADES' KL or MART's consistency, and PGD-AT has
    none. MART's margin counts with v. The mean is over images, and is not divided by the sum of
    factors. The forwards are those of the method with this name: clean and then adversarial images
    in train mode, or the adversarial ones alone.

    Source: Lee2024DAFA (v = W, u = 1); Zhang2024FAAL, TrustAI/FAAL@b20ee9d (v = u = C p);
        Wei2023CFA (v = 1 - b, beta u = b); Li2023WAT (v = u = w_c + w_mean).
    Deviations: FAAL's release forwards the adversarial images first and then the clean ones, also
        around PGD-AT, where they only move BatchNorm's statistics. DAFA's release takes the
        adversarial images first, too. AWP around FAAL perturbs from the weighted loss, as around
        any method, and in the release from the unweighted one.
    The costs of the images, for WAT, are cross-entropy plus beta KL of clean images, whatever the
    prediction loss is.

    Args:
        loss: prediction loss, without class weights of its own.
        attack: makes the adversarial images.
        base: `pgd_at`, `trades` or `mart`.
        beta: weight of R, no unit, >= 0.
        factors_of: v and u of a batch.
        costs: whether to return the costs of the images; around `trades` alone.
    """

    def __init__(
        self,
        loss: nn.Module,
        attack: TrainingAttack,
        *,
        base: str,
        beta: float,
        factors_of: FactorsOf,
        costs: bool = False,
    ) -> None:
        self.loss = loss
        self.attack = attack
        self.base = base
        self.beta = beta
        self.factors_of = factors_of
        self.costs = costs

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        adv_images = self.attack(model, images, targets, generator=generator)
        model.train()
        clean_logits = None if self.base == "pgd_at" else model(images)
        logits = model(adv_images)
        of_prediction, of_rest = self.factors_of(logits.detach(), targets)

        def mean(values: Tensor, factors: Tensor | None) -> Tensor:
            return (values if factors is None else values * factors.to(values)[targets]).mean()

        predicted = clean_logits if self.base == "trades" else logits
        assert predicted is not None
        loss = weighted_images(self.loss, predicted, targets, of_prediction)
        terms, costs = {"prediction": loss}, None
        if clean_logits is not None and self.base == "trades":
            divergences = image_kl(clean_logits, logits)
            terms["consistency"] = mean(divergences, of_rest)
            if self.costs:
                costs = wat_costs(clean_logits, targets, divergences, self.beta)
        elif clean_logits is not None:
            terms["margin"] = mean(mart_margins(logits, targets), of_prediction)
            consistencies = mart_consistencies(clean_logits, logits, targets)
            terms["consistency"] = mean(consistencies, of_rest)
            loss = loss + terms["margin"]
        if "consistency" in terms:
            loss = loss + self.beta * terms["consistency"]
        found = {name: term.detach() for name, term in terms.items()}
        return StepOutput(loss, logits, found, costs=costs)


def fixed_factors(prediction: Tensor, consistency: Tensor | None) -> FactorsOf:
    """Return the same factors for every batch, (K,) each."""
    return lambda logits, targets: (prediction, consistency)


def worst_factors(radius: float, *, released: bool) -> FactorsOf:
    """Return FAAL's factors: C p of the class weights p that are worst for the batch."""

    def factors(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, present = faal_coefficients(logits, targets, released=released)
        weights = faal_weights(coefficients, present, radius).float()
        return weights, weights

    return factors
