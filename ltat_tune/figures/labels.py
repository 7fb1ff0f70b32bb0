"""Names of methods, losses and data as the papers write them."""

from __future__ import annotations

from collections.abc import Sequence

from ltat_tune.catalogue import DATASETS, LOSSES, METHODS
from ltat_tune.config import DataConfig, TrialConfig

_METHODS = {entry.name: entry.symbol or entry.name for entry in METHODS}
_LOSSES = {entry.name: entry.symbol or entry.name for entry in LOSSES} | {
    "cross_entropy": "CE", "focal": "Focal",
}  # fmt: skip
_DATA = {entry.name: entry.symbol or entry.name for entry in DATASETS}
# The loss that a method has in its paper is not named again.
_OWN_LOSS = {"reat": "balanced_softmax", "robal": "robal", "natural": "cross_entropy"}


def method_name(config: TrialConfig) -> str:
    """`REAT`, `PGD-AT (BSL)`, `SRAT-LDAM`."""
    method, loss = config.method.name, config.loss.name
    name = "natural" if method == "natural" else _METHODS[method]
    if _OWN_LOSS.get(method) == loss:
        return name
    return f"{name}-{_LOSSES[loss]}" if method == "srat" else f"{name} ({_LOSSES[loss]})"


def data_name(data: DataConfig) -> str:
    """`CIFAR-10`, `CIFAR-10-LT (UR=50)`, `CIFAR-10 Step-100`."""
    name = _DATA[data.name]
    if data.profile == "balanced":
        return name
    if data.profile == "exp":
        return f"{name}-LT (UR={data.imbalance_ratio:g})"
    if data.profile == "step":
        return f"{name} Step-{data.imbalance_ratio:g}"
    return f"{name} ({data.profile})"


def attack_name(attack: str) -> str:
    """`PGD-20`, `CW-100`, `AutoAttack`, `clean`."""
    if attack == "aa":
        return "AutoAttack"
    letters = attack.rstrip("0123456789")
    steps = attack[len(letters) :]
    return f"{letters.upper()}-{steps}" if steps else "clean" if attack == "clean" else attack


def labels(configs: Sequence[TrialConfig]) -> list[str]:
    """A name for each configuration; alike ones get the values in which they differ."""
    names = [method_name(config) for config in configs]
    for name in {n for n in names if names.count(n) > 1}:
        alike = [i for i, n in enumerate(names) if n == name]
        flat = [configs[i].flat() for i in alike]
        differing = [p for p in flat[0] if len({str(values[p]) for values in flat}) > 1]
        for i, values in zip(alike, flat, strict=True):
            parts = [f"{p.partition('.')[2]} {_short(values[p])}" for p in differing[:2]]
            names[i] = f"{name}, {', '.join(parts)}" if parts else name
    return names


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
