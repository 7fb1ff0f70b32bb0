"""How a GPU computes is said explicitly: TF32, the order of sums, bfloat16, the device."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from ltat_tune.config.sections import ComputeConfig
from ltat_tune.errors import ConfigError
from ltat_tune.models.arithmetic import chosen_device, computing_on, described
from ltat_tune.models.computing import chosen_precision
from ltat_tune.training.trainer import Trainer
from tests.cuda.device import Pretended
from tests.cuda.process import Machine
from tests.cuda.trainings import config_of, images

# Those that CUDA computes in any order whatever is asked of it, by torch's documentation of
# `torch.use_deterministic_algorithms`, among what networks are made of.
_NO_ORDER = {
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward",
    "max_pool3d_with_indices_backward", "upsample_bilinear2d_backward", "grid_sampler_2d_backward",
    "upsample_bicubic2d_backward", "reflection_pad2d_backward", "replication_pad2d_backward",
    "nll_loss2d_forward", "_ctc_loss_backward", "_embedding_bag_dense_backward", "histc",
    "kthvalue", "median", "put_", "scatter_reduce",
}  # fmt: skip

Settings = tuple[int, str, str, bool, bool]


def _settings() -> Settings:
    backends: Any = torch.backends
    return (
        torch.cuda.current_device(),
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
        torch.are_deterministic_algorithms_enabled(),
        backends.cudnn.benchmark,
    )


def settings_of_convolutions(
    values: dict[str, object], device: str
) -> tuple[set[Settings], set[str], bool]:
    """The settings under which a training convolves, its operations, and that none is left."""
    backends: Any = torch.backends
    backends.cudnn.benchmark = True
    seen: set[Settings] = set()
    names: set[str] = set()

    def look(name: str) -> None:
        names.add(name)
        if name.startswith("convolution"):
            seen.add(_settings())

    with Pretended(2) as gpu:
        before = _settings()
        trainer = Trainer(config_of(values), splits=images(), device=device)
        gpu.before = look
        trainer.fit(probe_at=[1])
        restored = _settings() == before
    return seen, names, restored


def test_products_are_exact_and_sums_are_in_order_by_default_on_the_device_that_trains(
    machine: Machine,
) -> None:
    seen, names, restored = machine.run(settings_of_convolutions, {}, "cuda:1")
    assert seen == {(1, "ieee", "ieee", True, False)}
    assert restored
    assert names & _NO_ORDER == set()


def old_switches(float32: Literal["exact", "tf32"]) -> list[tuple[bool, bool, str]]:
    """What torch's older switches say before, inside and after a context, and in cuDNN's own."""
    backends: Any = torch.backends

    def read() -> tuple[bool, bool, str]:
        matmul = backends.cuda.matmul.allow_tf32
        return backends.cudnn.allow_tf32, matmul, torch.get_float32_matmul_precision()

    with Pretended():
        found = [read()]
        with computing_on(torch.device("cuda"), ComputeConfig(float32=float32)):
            found.append(read())
            with backends.cudnn.flags(enabled=True, benchmark=False):
                found.append(read())
        return [*found, read()]


@pytest.mark.parametrize(
    ("float32", "inside"), [("exact", (False, False, "highest")), ("tf32", (True, True, "high"))]
)
def test_networks_may_read_the_older_switches_of_torch(
    machine: Machine, float32: Literal["exact", "tf32"], inside: tuple[bool, bool, str]
) -> None:
    """torch raises for one that disagrees with a newer one; `torch.compile` reads them."""
    before, found, within, after = machine.run(old_switches, float32)
    assert found == inside and within[1:] == inside[1:]
    assert after == before


@pytest.mark.parametrize("method", ["srat", "trades", "mart", "taet", "robal"])
def test_no_method_uses_an_operation_whose_sums_have_no_order(
    machine: Machine, method: str
) -> None:
    head = {"model.head": "cosine"} if method == "robal" else {}
    values = {"method.name": method, "attack.norm": "l2", "attack.eps": 0.5,
              "attack.step_size": 0.1, **head}  # fmt: skip
    _, names, _ = machine.run(settings_of_convolutions, values, "cuda")
    assert len(names) > 40 and names & _NO_ORDER == set()


def test_tf32_and_the_fastest_kernels_are_chosen_by_name(machine: Machine) -> None:
    values: dict[str, object] = {"compute.float32": "tf32", "compute.deterministic": "off"}
    seen, _, restored = machine.run(settings_of_convolutions, values, "cuda:0")
    assert seen == {(0, "tf32", "tf32", False, True)}
    assert restored


def precisions() -> list[str]:
    """What auto chooses on a GPU without bfloat16 and on one that has it; the first is current."""
    with Pretended(2, ((7, 0), (9, 0))):
        devices = ("cpu", "cuda", "cuda:0", "cuda:1")
        return [chosen_precision("auto", torch.device(device)) for device in devices]


def test_bfloat16_is_asked_of_the_device_that_trains(machine: Machine) -> None:
    assert machine.run(precisions) == ["fp32", "fp32", "fp32", "bf16"]


def descriptions() -> list[str]:
    """Of the CPU, of the defaults on a GPU, and of the fastest there."""
    fastest = ComputeConfig(float32="tf32", deterministic="off")
    with Pretended():
        return [
            described(torch.device("cpu"), "fp32", ComputeConfig()),
            described(torch.device("cuda"), "bf16", ComputeConfig()),
            described(torch.device("cuda"), "fp32", fastest),
            str(chosen_device("auto")),
        ]


def test_results_name_device_precision_and_settings(machine: Machine) -> None:
    assert machine.run(descriptions) == [
        "cpu, fp32",
        "Pretended, bf16, no TF32, deterministic",
        "Pretended, fp32, TF32, not deterministic",
        "cuda",
    ]


def test_auto_is_the_cpu_where_no_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto").type == "cpu"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "--device must be a CPU or a CUDA GPU, got mps: noise, losses and statistics "
                "need float64, which Apple's mps lacks"),
        ("xpu", "--device must be a CPU or a CUDA GPU, got xpu"),
        ("gpu", "--device must be one of auto, cpu.* here, got gpu"),
        ("cuda:9", "--device must be one of auto, cpu.* here, got cuda:9"),
    ],
)  # fmt: skip
def test_other_devices_are_refused_with_the_reason(device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_device(device)


def test_nothing_is_set_for_a_cpu() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with computing_on(torch.device("cpu"), ComputeConfig()):
        assert torch.are_deterministic_algorithms_enabled() == before
