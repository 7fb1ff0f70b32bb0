"""Names of weights in the releases of the field, and the names that they have here.

Sources: GuanlinLee/REAT@e75218b, wutong16/Adversarial_Long-Tail@23c4ee8 (RoBal),
NISPLab/AT-BSL@4edeb7f, yaodongyu/TRADES, RobustBench, kuangliu/pytorch-cifar. AT-BSL and
RobustBench use the names of pytorch-cifar and TRADES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from ltat_tune.models.classifier import Classifier
from ltat_tune.models.foreign.backbone import ForeignBackbone
from ltat_tune.models.preact_resnet import PreActResNet18
from ltat_tune.models.resnet import ResNet18
from ltat_tune.models.wide_resnet import WideResNet

# What wraps a whole network: DataParallel, Lightning, torch.compile, Sequential(normalise, net).
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "1.")
_HEAD = (
    (r"(?:fc|linear|classifier\.fc|classifier)\.(weight|bias)", r"head.\1"),
    (r"(?:mu|0\.mean|normalize\.mean)", "mean"),
    (r"(?:sigma|0\.std|normalize\.std)", "std"),
)
_Rules = tuple[tuple[str, str], ...]
_AT = r"(?:layer|block)(\d)\.(?:layer\.)?(\d+)\."  # a stage and a block within it
_HERE = r"backbone.stages.\1-\2."
_RESNET: _Rules = (
    (r"(?:conv1|conv1\.0)\.(weight)", r"backbone.stem.conv.\1"),
    (r"(?:bn1|conv1\.1)\.(\w+)", r"backbone.stem.bn.\1"),
    (_AT + r"(?:conv1|residual_function\.0)\.(\w+)", _HERE + r"first.conv.\3"),
    (_AT + r"(?:bn1|residual_function\.1)\.(\w+)", _HERE + r"first.bn.\3"),
    (_AT + r"(?:conv2|residual_function\.3)\.(\w+)", _HERE + r"second.conv.\3"),
    (_AT + r"(?:bn2|residual_function\.4)\.(\w+)", _HERE + r"second.bn.\3"),
    (_AT + r"(?:shortcut|downsample)\.0\.(\w+)", _HERE + r"shortcut.conv.\3"),
    (_AT + r"(?:shortcut|downsample)\.1\.(\w+)", _HERE + r"shortcut.bn.\3"),
)
_PREACT: _Rules = (
    (r"conv1\.(\w+)", r"backbone.stem.\1"),
    (r"bn1?\.(\w+)", r"backbone.bn.\1"),
    (_AT + r"bn1\.(\w+)", _HERE + r"bn.\3"),
    (_AT + r"conv1\.(\w+)", _HERE + r"first.conv.\3"),
    (_AT + r"bn2\.(\w+)", _HERE + r"first.bn.\3"),
    (_AT + r"conv2\.(\w+)", _HERE + r"second.\3"),
    (_AT + r"(?:convShortcut|shortcut\.0)\.(\w+)", _HERE + r"shortcut.\3"),
)


def renamed(found: Mapping[str, Tensor], model: Classifier) -> dict[str, Tensor]:
    """Return the tensors of a file under the names that they have in `model`.

    Prefixes that all names share are removed. A name that no rule knows is that of a backbone
    alone, if there is one, and else stays as it is.
    """
    ours = set(model.state_dict())
    if sum(name in ours for name in found) > len(ours) / 2:
        return dict(found)
    found = _without_prefixes(found, ours)
    rule = _rule(model)
    names = {name: _of_backbone(rule(name), ours) for name in found}
    return {new: found[name] for name, new in names.items()}


def _of_backbone(name: str, ours: set[str]) -> str:
    whole = f"backbone.{name}"
    return whole if name not in ours and whole in ours else name


def _without_prefixes(found: Mapping[str, Tensor], ours: set[str]) -> dict[str, Tensor]:
    """Remove the wrappers' prefixes, each from all names that have it, if most names do."""
    tensors = dict(found)
    again = True
    while again:
        again = False
        for prefix in _PREFIXES:
            if 2 * sum(name.startswith(prefix) for name in tensors) > len(tensors):
                tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
                again = True
    return tensors


def _rule(model: Classifier) -> Callable[[str], str]:
    backbone = model.backbone
    if isinstance(backbone, ForeignBackbone):
        return lambda name: _in_library(name, backbone)
    rules: _Rules = ()
    blocks = 2
    if isinstance(backbone, ResNet18):
        rules = _RESNET
    elif isinstance(backbone, PreActResNet18 | WideResNet):
        rules = _PREACT
        blocks = 2 if isinstance(backbone, PreActResNet18) else len(backbone.stages) // 3

    def rule(name: str) -> str:
        for pattern, new in (*_HEAD, *rules):
            if match := re.fullmatch(pattern, name):
                # a stage and a block within it are one number here
                return re.sub(
                    r"(\d)-(\d+)",
                    lambda m: str((int(m[1]) - 1) * blocks + int(m[2])),
                    match.expand(new),
                )
        return name

    return rule


def _in_library(name: str, backbone: ForeignBackbone) -> str:
    for pattern, new in _HEAD[1:]:
        if re.fullmatch(pattern, name):
            return new
    if name.startswith(f"{backbone.replaced}."):
        return f"head.{name.removeprefix(f'{backbone.replaced}.')}"
    return f"backbone.network.{name}"
