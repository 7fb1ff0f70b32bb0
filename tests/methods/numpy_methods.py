"""One training step of every method in NumPy float64, from the formulas of the papers.

It reads the configuration and nothing else of `ltat_tune`; every gradient is by central
differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ltat_tune.config.trial_config import TrialConfig
from tests.losses.numeric import Array, central_differences, log_softmax
from tests.methods.numpy_network import Network, project

Counts = Array


@dataclass(frozen=True)
class Classes:
    """What DAFA, CFA and WAT know of the classes.

    That is correct answers (K,) by epoch, sums of the softmax (K, K), and costs (K,) by epoch.
    """

    correct: list[list[int]]
    confusion: Array
    costs: list[list[float]]


@dataclass(frozen=True)
class Batch:
    """Images (N, 1, 2, 3), targets (N,), and the noise that the attack starts from.

    `noise` is added to the images in L-inf; in L2 it is a normal direction, at `radius` (N,).
    """

    images: Array
    targets: Array
    noise: Array | None
    radius: Array | None


# --- class weights -------------------------------------------------------------------------------


def _effective(counts: Counts, beta: float | None) -> Array:
    beta = (counts.sum() - 1) / counts.sum() if beta is None else beta
    numbers: Array = (1 - beta**counts) / (1 - beta)
    return numbers


def class_weights(config: TrialConfig, counts: Counts) -> Array | None:
    """The weights that are in the prediction loss once they have begun."""
    name = config.reweight.name
    if name == "none":
        return None
    if name == "class_balanced":
        effective = _effective(counts, config.reweight.beta)
        weights: Array = effective.max() / effective
        return weights
    if name == "inverse":
        return np.array([max(counts) / n for n in counts])
    if name == "inverse_sqrt":
        return np.array([np.sqrt(max(counts) / n) for n in counts])
    # the rarer half; of equal counts the later class is the rarer
    order = sorted(range(len(counts)), key=lambda c: (counts[c], -c))
    rare = order[: len(counts) // 2]
    under = config.reweight.under_weight
    return np.array([under if c in rare else 1.0 for c in range(len(counts))])


def _attack_weights(config: TrialConfig, counts: Counts, predicted: Array | None) -> Array:
    name, ones = config.attack.reweight, np.ones(len(counts))
    if name == "rbl":
        n = counts if predicted is None else predicted
        beta = (counts - 1) / counts
        weights = 1 / ((1 - beta**n) / (1 - beta) + 1e-5)
    elif name == "class_balanced":
        weights = 1 / _effective(counts, config.reweight.beta)
    else:
        weights = {"inverse": 1 / counts, "inverse_sqrt": counts**-0.5}.get(name, ones)
    scaled: Array = len(counts) * weights / weights.sum()
    return scaled


# --- losses --------------------------------------------------------------------------------------


def _one_hot(targets: Array, classes: int) -> Array:
    rows: Array = np.eye(classes)[targets.astype(int)]
    return rows


def _cross_entropies(logits: Array, targets: Array, smoothing: float) -> Array:
    k = logits.shape[1]
    wanted = (1 - smoothing) * _one_hot(targets, k) + smoothing / k
    losses: Array = -(wanted * log_softmax(logits)).sum(1)
    return losses


def prediction_loss(
    config: TrialConfig, counts: Counts, logits: Array, targets: Array, weights: Array | None
) -> float:
    """The configured loss on logits (N, K); weights (K,) or None."""
    loss, y = config.loss, targets.astype(int)
    w = np.ones(len(counts)) if weights is None else weights
    if loss.name == "effective_number":
        w = w / _effective(counts, config.reweight.beta)
    if loss.name == "ldam":
        margins = loss.max_margin * counts**-0.25 / max(counts**-0.25)
        logits = loss.scale * (logits - _one_hot(targets, len(counts)) * margins)
    if loss.name == "balanced_softmax":
        logits = logits + loss.tau * np.log(counts)
    if loss.name == "robal":
        margins = loss.base_margin + loss.margin_tau / loss.scale * np.log(counts / min(counts))
        logits = loss.scale * (logits - _one_hot(targets, len(counts)) * margins)
        logits = logits + loss.tau * np.log(counts / counts.sum())
    ce = _cross_entropies(logits, targets, loss.label_smoothing)
    if loss.name == "focal":
        inside = w[y] * ce if loss.focal_weight == "inside" else ce
        return float(((1 - np.exp(-inside)) ** loss.gamma * w[y] * ce).mean())
    return float((w[y] * ce).sum() / w[y].sum())


def _softmax(values: Array) -> Array:
    probabilities: Array = np.exp(log_softmax(values))
    return probabilities


def _kl(p: Array, q: Array, floor: float = 0.0) -> Array:
    """KL(p_i || q_i) of rows of probabilities."""
    divergence: Array = (p * (np.log(p) - np.log(q + floor))).sum(1)
    return divergence


def _separation(features: Array, targets: Array, temperature: float) -> float:
    """SRAT Eq. 6, the mean over anchors that have a positive."""
    similarity, losses = features @ features.T / temperature, []
    for i, y in enumerate(targets):
        others = np.arange(len(targets)) != i
        positive = others & (targets == y)
        if positive.any():
            denominator = np.log(np.exp(similarity[i][others]).sum())
            losses.append(-(similarity[i][positive] - denominator).mean())
    return float(np.mean(losses)) if losses else 0.0


def _tail(
    config: TrialConfig, counts: Counts, features: Array, held: Array, targets: Array
) -> float:
    """REAT's TAIL; `held` are the features where a stop-gradient keeps them."""
    method, c, y = config.method, len(counts), targets.astype(int)
    order = sorted(range(c), key=lambda k: (-counts[k], k))
    first = int(np.ceil(2 * c / 3)) - 1 if method.tail_set == "paper" else 2 * (c // 3) + 1
    anchors = [i for i in range(len(y)) if y[i] in order[first:]]
    if not anchors:
        return 0.0
    omega = np.sqrt(counts.sum() / counts)[y]
    p, stopped = _softmax(features), _softmax(held)
    total = 0.0
    for i in anchors:
        same, joint = y == y[i], omega[i] + omega
        if method.tail_variant == "released":
            kbar = _kl(np.broadcast_to(stopped[i], p.shape), p).mean() / p.shape[1]
            total += kbar * np.where(same, -joint, joint).mean()
            continue
        anchor = stopped[i] if method.tail_detach_anchor else p[i]
        kl = _kl(p, np.broadcast_to(anchor, p.shape))
        if method.tail_detach_anchor:
            kl[i] = 0.0  # the sample with itself is at the minimum, where the gradient is 0
        if method.tail_variant == "bounded":
            kl = np.where(same, kl, np.minimum(kl, method.tail_kl_max))
        total -= (np.where(same, -1, 1) * joint * kl).mean()
    return float(total / len(anchors))


def _taet(config: TrialConfig, logits: Array, targets: Array) -> float:
    method, k = config.method, logits.shape[1]
    ce = _cross_entropies(logits, targets, config.loss.label_smoothing)
    losses = np.array([ce[targets == c].mean() if (targets == c).any() else 0 for c in range(k)])
    bcl = losses.sum() / k
    hdl = ((losses - bcl) ** 2).sum() / k
    rcel = ((losses / (losses.sum() + 1e-10)) ** 2).sum()
    return float(method.bcl_weight * bcl + method.hdl_weight * hdl + method.rcel_weight * rcel)


def _etf(weight: Array) -> float:
    k, total = len(weight), 0.0
    for a in range(k):
        for b in range(k):
            cosine = weight[a] @ weight[b] / np.linalg.norm(weight[a]) / np.linalg.norm(weight[b])
            total += (cosine - (1.0 if a == b else -1 / (k - 1))) ** 2
    return total / k**2


# --- DAFA, FAAL, CFA, WAT ------------------------------------------------------------------------


def _dafa(config: TrialConfig, classes: Classes) -> Array:
    method, sums = config.method, classes.confusion
    s, k = sums / sums.sum(1, keepdims=True), len(sums)
    w = np.ones(k)
    for i in range(k):
        for j in range(k):
            if s[i, i] < s[j, j]:
                w[i] += method.dafa_strength * s[i, j] * s[j, j]
            elif s[i, i] > s[j, j]:
                w[i] -= method.dafa_strength * s[j, i] * s[i, i]
    low, high = method.dafa_weight_min, method.dafa_weight_max
    shift = brentq(lambda x: (w + x).clip(low, high).sum() - k, -20, 20, xtol=1e-14)
    bounded: Array = (w + shift).clip(low, high)
    return bounded


def _faal(config: TrialConfig, logits: Array, y: Array) -> Array:
    """Weights by class, with mean 1 over the classes that take part."""
    method, k, p = config.method, logits.shape[1], _softmax(logits)
    margins = np.where(_one_hot(y, k) == 1, -1, p).max(1) - p[np.arange(len(y)), y]
    a = np.array([margins[y == c].sum() for c in range(k)])
    here = np.arange(k)
    if method.faal_coefficients == "class_means":
        here = np.array([c for c in range(k) if (y == c).any()])
        a = np.array([margins[y == c].mean() if (y == c).any() else 0 for c in range(k)])
    weights = np.zeros(k)
    if np.ptp(a[here]) == 0 or method.faal_radius == 0:
        weights[here] = 1.0
        return weights

    def shares(log_distance: float) -> Array:
        inverse = 1 / (np.exp(log_distance) + (a[here].max() - a[here]))
        normed: Array = inverse / inverse.sum()
        return normed

    def excess(log_distance: float) -> float:
        return float(np.log(1 / len(here) / shares(log_distance)).mean() - method.faal_radius)

    weights[here] = len(here) * shares(brentq(excess, -40, 40, xtol=1e-13))
    return weights


def _recalls(config: TrialConfig, counts: Counts, classes: Classes) -> Array:
    recalls = np.array(classes.correct[0]) / counts
    for correct in classes.correct[1:]:
        old = config.method.cfa_smoothing
        recalls = old * recalls + (1 - old) * np.array(correct) / counts
    return recalls


def _wat(config: TrialConfig, counts: Counts, classes: Classes, epoch: int) -> Array:
    """The weights of the classes and, last, of their mean."""
    method, recorded = config.method, np.array(classes.costs)
    costs = recorded.sum(0) / counts * epoch / len(recorded)
    exponents = method.wat_rate * np.append(costs, costs.mean())

    def weights(shift: float) -> Array:
        cut: Array = np.exp(exponents + shift).clip(max=method.wat_weight_max)
        return cut

    return weights(brentq(lambda x: weights(x).sum() - len(counts), -200, 20, xtol=1e-14))


def _class_radii(config: TrialConfig, counts: Counts, classes: Classes | None) -> Array:
    method = config.method
    if classes is None or method.name not in ("dafa", "cfa"):
        return np.ones(len(counts))
    if method.name == "dafa":
        return _dafa(config, classes)
    recalls = _recalls(config, counts, classes)
    larger = recalls if method.cfa_larger_radius == "easy" else 1 - recalls
    radii: Array = method.cfa_radius_base + larger
    return radii


# --- the attack ----------------------------------------------------------------------------------


def _budgets(config: TrialConfig, counts: Counts, epoch: int) -> Array:
    """RobustLT: radius of each class as a share of eps, epoch counted from 0."""
    alpha, b = config.attack.class_budget, config.attack.class_budget_warmup
    spread = np.sqrt(np.log(max(counts) / counts))
    mean = (counts / counts.sum() * spread).sum()
    grown = min(epoch / (b * config.optim.epochs), 1.0) if b > 0 else 1.0
    shares: Array = grown * ((1 - alpha) + alpha * spread / mean)
    return shares


def _raised(
    config: TrialConfig, counts: Counts, logits: Array, clean: Array, y: Array, w: Array
) -> float:
    objective, y = config.attack.objective, y.astype(int)
    if config.attack.reweight == "balanced_softmax":
        logits = logits + np.log(counts)
    if objective == "loss":
        return prediction_loss(config, counts, logits, y, w)
    if objective == "cross_entropy":
        return float((w[y] * _cross_entropies(logits, y, 0.0)).sum())
    if objective == "kl":
        return float((w[y] * _kl(_softmax(clean), _softmax(logits))).sum())
    others = np.where(_one_hot(y, len(counts)) == 1, -np.inf, logits).max(1)
    return float((w[y] * (others - logits[np.arange(len(y)), y])).sum())


def _norms(values: Array) -> Array:
    norms: Array = np.sqrt((values**2).sum((1, 2, 3), keepdims=True))
    return norms


def adversarial(
    net: Network,
    config: TrialConfig,
    counts: Counts,
    batch: Batch,
    epoch: int,
    predicted: Array | None,
    classes: Classes | None = None,
) -> Array:
    """PGD; moves the running statistics where the attack is in train mode."""
    attack, x, y = config.attack, batch.images, batch.targets.astype(int)
    if attack.steps == 0:
        return x
    training, moves = attack.bn_mode != "eval", attack.bn_mode == "train"
    weights = _attack_weights(config, counts, predicted)
    share = _budgets(config, counts, epoch)[y][:, None, None, None]
    radius = _class_radii(config, counts, classes)[y][:, None, None, None]
    cfa = config.method.name == "cfa"
    eps = attack.eps * share * radius
    step = attack.step_size * share * (1 if cfa else radius)
    of_start = radius if cfa and attack.start != "gaussian" else np.ones_like(radius)
    clean = net.forward(x, training=training)[0]
    if moves and attack.objective == "kl":
        net.see(x)
    adv = x.copy()
    if batch.noise is not None and batch.radius is not None:
        adv = x + batch.noise / _norms(batch.noise) * batch.radius[:, None, None, None]
    elif batch.noise is not None:
        adv = x + batch.noise * of_start
    if attack.start == "uniform_clipped":
        adv = adv.clip(0, 1)

    def total(images: Array) -> float:
        logits = net.forward(images, training=training)[0]
        return _raised(config, counts, logits, clean, y, weights)

    for _ in range(attack.steps):
        gradient = central_differences(total, adv)
        if moves:
            net.see(adv)
        if attack.norm == "linf":
            adv = (adv + step * np.sign(gradient)).clip(x - eps, x + eps)
        else:
            shift = adv + step * gradient / _norms(gradient) - x
            adv = x + shift * np.minimum(1, eps / np.maximum(_norms(shift), 1e-300))
        adv = adv.clip(0, 1)
    return adv


# --- one step ------------------------------------------------------------------------------------


def _clean_stage(config: TrialConfig, epoch: int) -> bool:
    method = config.method
    fraction = method.clean_fraction if method.name == "taet" else 0.0
    return method.name == "natural" or epoch < round(fraction * config.optim.epochs)


def _objective(
    net: Network,
    config: TrialConfig,
    counts: Counts,
    batch: Batch,
    adv: Array,
    weights: Array | None,
    epoch: int,
    classes: Classes | None = None,
) -> Callable[[dict[str, Array], dict[str, Array]], float]:
    """The loss as a function of the parameters, and of those behind a stop-gradient."""
    method, y = config.method, batch.targets

    def penalty(values: dict[str, Array]) -> float:
        weight = config.loss.etf_weight
        return weight * _etf(values["head.weight"]) if weight > 0 else 0.0

    def loss(values: dict[str, Array], held: dict[str, Array]) -> float:
        def prediction(logits: Array) -> float:
            return prediction_loss(config, counts, logits, y, weights)

        if _clean_stage(config, epoch):
            total = prediction(net.forward(batch.images, values)[0])
            return float(total + penalty(values))
        z, f = net.forward(adv, values)
        q = _softmax(z)
        fair = method.name in ("dafa", "faal", "cfa")
        if method.name in ("robal", "trades", "mart", "wat") or (fair and method.base != "pgd_at"):
            clean = net.forward(batch.images, values)[0]
            p = _softmax(clean)
        if method.name == "srat":
            total = prediction(z)
            if method.separation_weight > 0:
                separation = _separation(project(f, values), y, method.temperature)
                total += method.separation_weight * separation
        elif method.name == "reat":
            total = prediction(z)
            stopped = net.forward(adv, held)[1]
            total += method.tail_weight * _tail(config, counts, f, stopped, y)
        elif method.name == "robal":
            total = prediction(z) + method.beta * _kl(p, q, 1e-12).mean()
        elif method.name == "trades":
            total = prediction(clean) + method.beta * _kl(p, q).mean()
        elif method.name == "wat":
            labels = y.astype(int)
            ones = range(len(labels))
            each = np.array(
                [
                    prediction_loss(config, counts, clean[i : i + 1], labels[i : i + 1], None)
                    for i in ones
                ]
            ) + method.beta * _kl(p, q)
            w = np.ones(len(counts) + 1)
            if classes is not None:
                w = _wat(config, counts, classes, epoch)
            total = (w[labels] * each).mean() + w[-1] * each.mean()
        elif method.name == "mart":
            right = _one_hot(y, len(counts))
            wrong = np.where(right == 1, 0, q).max(1)
            total = prediction(z) - np.log(1.0001 - wrong + 1e-12).mean()
            total += method.beta * (_kl(p, q, 1e-12) * (1.0000001 - (p * right).sum(1))).mean()
        elif method.name == "taet":
            total = _taet(config, z, y)
        elif fair:
            labels = y.astype(int)
            v = u = np.ones(len(counts))
            if method.name == "dafa" and classes is not None:
                v = _dafa(config, classes)
            if method.name == "faal":
                v = u = _faal(config, net.forward(adv, held)[0], labels)
            if method.name == "cfa" and method.base == "trades":
                f = np.ones(len(counts))
                if classes is not None:
                    f = method.cfa_kl_base + _recalls(config, counts, classes)
                u = f / (1 + f * method.beta)  # times beta below
                v = 1 - method.beta * u
            of = clean if method.base == "trades" else z
            one_by_one = [
                prediction_loss(config, counts, of[i : i + 1], labels[i : i + 1], None)
                for i in range(len(labels))
            ]
            total = (v[labels] * np.array(one_by_one)).mean()
            right = _one_hot(y, len(counts))
            if method.base == "trades":
                total += method.beta * (u[labels] * _kl(p, q)).mean()
            elif method.base == "mart":
                wrong = np.where(right == 1, 0, q).max(1)
                total -= (v[labels] * np.log(1.0001 - wrong + 1e-12)).mean()
                unsure = 1.0000001 - (p * right).sum(1)
                total += method.beta * (u[labels] * _kl(p, q, 1e-12) * unsure).mean()
        else:
            total = prediction(z)
        return float(total + penalty(values))

    return loss


def _gradients(
    loss: Callable[[dict[str, Array], dict[str, Array]], float], values: dict[str, Array]
) -> dict[str, Array]:
    return {
        name: central_differences(lambda v, n=name: loss({**values, n: v}, values), value)  # type: ignore[misc]
        for name, value in values.items()
    }


def reference_step(
    net: Network,
    config: TrialConfig,
    counts: Counts,
    batch: Batch,
    *,
    weights: Array | None,
    epoch: int = 0,
    predicted: Array | None = None,
    classes: Classes | None = None,
) -> float:
    """Attack, loss, gradients and SGD on `net`; the loss, at the perturbed weights under AWP."""
    method, clean_stage = config.method, _clean_stage(config, epoch)
    images = batch.images
    if method.extra_forwards == "clean_before":
        net.see(images)
    adv = images
    if not clean_stage:
        adv = adversarial(net, config, counts, batch, epoch, predicted, classes)
    if method.extra_forwards == "adv_clean_before":
        net.see(adv)
        net.see(images)
    loss = _objective(net, config, counts, batch, adv, weights, epoch, classes)
    moved: dict[str, Array] = {}
    if method.awp_gamma > 0 and epoch >= round(method.awp_start_fraction * config.optim.epochs):
        for name, direction in _gradients(loss, net.values).items():
            if net.values[name].ndim > 1:
                size = method.awp_gamma * np.linalg.norm(net.values[name])
                moved[name] = size * direction / (np.linalg.norm(direction) + 1e-20)
    net.values = {name: value + moved.get(name, 0.0) for name, value in net.values.items()}
    value, gradients = loss(net.values, net.values), _gradients(loss, net.values)
    around = method.base if method.name in ("dafa", "faal", "cfa") else method.name
    both = around in ("trades", "mart", "robal", "wat") and not clean_stage
    for seen in [images, adv] if both else [adv]:
        net.see(seen)
    optim = config.optim
    for name, parameter in net.values.items():
        gradient = gradients[name] + optim.weight_decay * parameter
        if name in net.momenta:
            gradient = optim.momentum * net.momenta[name] + gradient
        net.momenta[name] = gradient
        net.values[name] = parameter - optim.lr * gradient - moved.get(name, 0.0)
    if method.extra_forwards == "adv_clean_after":
        net.see(adv)
        net.see(images)
    return value
