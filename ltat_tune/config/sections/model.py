"""`model.*`: the network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from ltat_tune.config.extensions import Extensible, OpenSection
from ltat_tune.config.fields import documented
from ltat_tune.config.foreign.start import Start
from ltat_tune.config.scalars import Integer, Number

LIBRARY_NETWORK = r"(torchvision|timm)/[A-Za-z0-9_.-]+"
_UNLISTED = (
    "must be torchvision/NAME, timm/NAME, or MODULE:FUNCTION of a plugin that the file lists, "
    "whose function takes num_classes, got {value}; add plugins: [{module}]"
)


class ModelConfig(OpenSection):
    """The network. Its input is an image in [0, 1]; its first layer normalises the image."""

    section: ClassVar[str] = "model"

    name: Annotated[
        Literal["small_cnn", "resnet18", "preact_resnet18", "wrn28_10", "wrn34_10"],
        Extensible("model.name", also=LIBRARY_NETWORK, unlisted=_UNLISTED),
    ] = documented(
        "small_cnn",
        "architecture; the residual networks have a 3x3 stem for CIFAR-sized images; also "
        "torchvision/NAME, timm/NAME, or MODULE:FUNCTION of a plugin",
        also=("arch", "net"),
        source="He2016Deep; He2016Identity; Zagoruyko2016Wide",
    )
    width: Integer | None = documented(
        None,
        "number of channels of the first stage; null is that of the published network (32 for"
        " small_cnn, 64 for ResNets, 160 for WRNs)",
        unit="channels",
        ge=1,
        le=512,
    )
    stem: Literal["conv", "space_to_depth"] = documented(
        "conv",
        "small_cnn: first layers: two convolutions (conv), or 2x2 pixels as channels and one "
        "convolution (space_to_depth, which needs about 0.6 of the time)",
    )
    init: Start | None = documented(
        None,
        "file of weights to start from: of ltat-tune, safetensors, or a state_dict of any script, "
        "with or without the head; null starts at random",
        also=("pretrained", "checkpoint"),
    )
    features: str | None = documented(
        None,
        "networks that ltat-tune does not define: name of the part that the head replaces; its "
        "input, averaged over a map, is the features; null is the last linear layer",
    )
    head: Literal["linear", "cosine"] = documented(
        "linear",
        "layer from features to logits: linear, or head_scale times the cosine between feature "
        "and class weight (cosine)",
        source="Wu2021Adversarial (RoBal); Cao2019LDAM, release",
        instead=(("method.name", ("robal",), "cosine"), ("loss.name", ("robal",), "cosine")),
    )
    head_scale: Number = documented(
        10.0,
        "cosine head: factor on the cosines in training and attack; the losses ldam and robal "
        "also multiply by loss.scale",
        gt=0,
        le=1000,
        source="RoBal release (1)",
        instead=(("loss.name", ("robal", "ldam"), 1.0),),
    )
    head_gamma: Number = documented(
        1 / 32,
        "cosine head: number that is added to the norm of each class weight",
        symbol="γ",
        ge=0,
        le=10,
        source="RoBal release (1/32; 1/16 for CIFAR-100 R)",
    )
    inference_scale: Number = documented(
        1.0,
        "factor on the logits whenever the model is measured",
        symbol="s",
        gt=0,
        le=1000,
        source="RoBal release (N: 10; R: 1, where PGD finds little gradient)",
        instead=(("loss.name", ("robal",), 10.0),),
    )
    posthoc_tau: Number = documented(
        0.0,
        "multiple of the log-prior that is subtracted from the logits whenever the model is "
        "measured; 0 turns this off",
        symbol="τ_p",
        ge=0,
        le=10,
        source="Menon2021LongTail; RoBal release (N: 0.1; CIFAR-100 1.5 and 1.7)",
    )
    normalisation: Literal["none", "data"] = documented(
        "none",
        "normalisation of the images: none (images stay in [0, 1], as in both papers), or by the "
        "mean and standard deviation of the training subset (data)",
    )
