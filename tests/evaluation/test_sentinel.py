"""The sentinel on models that are known to be sound or masked."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from ltat_tune.attacks import named
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.evaluation import sentinel_checks as checks
from ltat_tune.evaluation.sentinel import SentinelReport, sentinel_text, watch
from ltat_tune.evaluation.sentinel_attacks import Batch, build_attacks
from ltat_tune.models import measured
from ltat_tune.training.evaluation import MeasuredPart, correct_answers
from ltat_tune.training.trainer import Trainer
from tests.attacks.toys import snapshot, tiny_cnn, unusual_state

_EPS = 0.1
_RECIPE: dict[str, Any] = {
    "data.name": "digits", "data.imbalance_ratio": 50, "data.val_per_class": 30,
    "model.width": 8, "model.stem": "space_to_depth", "model.inference_scale": 1,
    "attack.eps": _EPS, "attack.step_size": 0.04, "attack.steps": 5, "optim.epochs": 8,
    "optim.batch_size": 32, "optim.lr_schedule": "cosine", "evaluation.every_epochs": 8,
    "evaluation.val_attack": "clean",
}  # fmt: skip
_ROBAL = {"method.name": "robal", "model.head_scale": 1}
Trained = tuple[nn.Module, Tensor, Tensor]


class _Quantised(nn.Module):
    """A model of images rounded to eighths, whose gradient is 0 everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((8 * images).round() / 8)
        return logits


def _trained(values: dict[str, Any]) -> Trained:
    torch.set_num_threads(1)
    trainer = Trainer(TrialConfig.from_flat({**_RECIPE, **values}))
    val = trainer.splits.val
    return trainer.fit().model, to_unit(val.images), val.targets


def _watch(trained: Trained, **knobs: Any) -> SentinelReport:
    return watch(*trained, **{"eps": _EPS, "square_queries": 150, **knobs})


@pytest.fixture(scope="session")
def pgd_at() -> Trained:
    return _trained({})


@pytest.fixture(scope="session")
def robal() -> Trained:
    return _trained(_ROBAL)


def _triggered(report: SentinelReport) -> set[str]:
    return {check.name for check in report.checks if check.triggered}


def _sentence(report: SentinelReport, name: str) -> str:
    return next(check.sentence for check in report.checks if check.name == name)


def _figures(report: SentinelReport, name: str) -> Mapping[str, float]:
    return next(check.figures for check in report.checks if check.name == name)


def test_pgd_at_is_clear(pgd_at: Trained) -> None:
    report = _watch(pgd_at)
    assert report.verdict == "clear"
    assert _triggered(report) == set()
    assert [check.name for check in report.checks] == list(checks.CHECKS)
    assert "20 steps are enough" in _sentence(report, "more_steps")
    assert report.headline.startswith("clear: no check contradicts")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"loss.name": "balanced_softmax"}, id="balanced softmax"),
        pytest.param({"method.name": "trades"}, id="trades"),
        pytest.param({"method.name": "reat"}, id="reat"),
        pytest.param({"method.name": "srat"}, id="srat"),
        pytest.param({"method.name": "mart"}, id="mart"),
    ],
)
def test_other_sound_methods_are_clear(values: dict[str, Any]) -> None:
    report = _watch(_trained(values))
    assert report.verdict == "clear", report.headline


def test_robal_at_scale_1_lights_up_and_at_scale_10_does_not(robal: Trained) -> None:
    model, images, targets = robal
    at_1, at_10 = _watch(robal), _watch((measured(model, scale=10), images, targets))
    assert at_10.verdict == "clear"
    assert at_1.verdict in ("suspicious", "masked")
    assert "adaptive_x10" in _triggered(at_1)
    assert "the logits are so small" in _sentence(at_1, "adaptive_x10")
    # logits within [-1, 1] and closer than ln 2, which ten times the logits are not
    pulls = [_figures(report, "adaptive_x10")["median_pull"] for report in (at_1, at_10)]
    assert pulls[0] < checks.EVEN_PULL < pulls[1]


def test_logits_times_1000_are_masked(pgd_at: Trained) -> None:
    model, images, targets = pgd_at
    report = _watch((measured(model, scale=1000), images, targets))
    assert report.verdict == "masked"
    assert {"margin", "flat", "larger_radius", "random_direction"} <= _triggered(report)
    assert "adaptive_x0.1" in _triggered(report)
    assert "hardly a gradient" in _sentence(report, "adaptive_x0.1")
    assert "quote CW" in _sentence(report, "margin")


def test_a_quantised_input_is_masked(pgd_at: Trained) -> None:
    model, images, targets = pgd_at
    report = _watch((_Quantised(model), images, targets))
    assert report.verdict == "masked"
    assert {"black_box", "flat", "larger_radius", "random_direction"} <= _triggered(report)
    assert f"On {report.right} of {report.right} images" in _sentence(report, "flat")
    assert "Square, which sees no gradient, breaks" in _sentence(report, "black_box")
    assert "no better than noise" in _sentence(report, "random_direction")
    assert report.headline.startswith("masked: the gradient misleads PGD")


def test_the_report_is_json_and_a_table(pgd_at: Trained) -> None:
    report = _watch(pgd_at, max_images=20, square_queries=5)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["verdict"] == "clear"
    assert data["images"] == 20
    assert data["checks"][0]["name"] == "black_box"
    assert data["resolution"] == 35.0  # 7 images of 20: 2^-6 > 0.01 > 2^-7
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(sentinel_text(report))
    shown = console.export_text()
    assert "gradient masking: clear" in shown
    assert "Square against PGD-20" in shown
    assert "gaps below 35.0 points" in shown


def test_the_same_seed_gives_the_same_report_and_the_model_is_left_as_found() -> None:
    model = tiny_cnn(3)
    unusual_state(model)
    before = snapshot(model)
    generator = torch.Generator().manual_seed(0)
    images, targets = torch.rand(30, 1, 8, 8, generator=generator), torch.arange(30) % 3
    state = torch.random.get_rng_state()
    reports = [_watch((model, images, targets), square_queries=3) for _ in range(2)]
    assert reports[0] == reports[1]
    assert snapshot(model) == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_progress_names_every_attack_and_ends() -> None:
    heard: list[tuple[str, int, int]] = []
    images, targets = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    _watch(
        (tiny_cnn(3), images, targets), square_queries=2,
        progress=lambda name, done, total: heard.append((name, done, total)),
    )  # fmt: skip
    assert heard[0] == ("fgsm", 0, 11)
    assert heard[-1] == ("", 11, 11)


class _Sum(nn.Module):
    """Two classes of 4x4 images: z = (sum(x) - 8, 8 - sum(x)) * scale.

    The gradient is `scale` everywhere, so every attack goes straight down.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        shifted = self.scale * (images.flatten(1).sum(dim=1) - 8)
        return torch.stack((shifted, -shifted), dim=1)


def test_a_linear_model_falls_exactly_as_the_radius_says() -> None:
    # sum = 16 v: right for class 0 above v = 0.5, and eps takes v down by eps.
    values = torch.tensor([0.55, 0.65, 0.75, 0.95]).repeat_interleave(10)
    images = values[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    targets = torch.zeros(40, dtype=torch.int64)
    report = watch(_Sum(), images, targets, eps=0.1, square_queries=10)
    figures = {check.name: check.figures for check in report.checks}
    assert figures["larger_radius"] == {
        "pgd20": 75.0, "pgd20_2eps": 50.0, "pgd20_4eps": 25.0, "unbounded": 0.0
    }  # fmt: skip
    assert figures["one_step"]["fgsm"] == 75.0
    assert figures["flat"]["flat_share"] == 0.0
    assert report.verdict == "clear"


def test_an_l2_linear_model_is_clear_and_says_why_square_is_missing() -> None:
    # In L2 the distance to the boundary is 4 (v - 0.5): 0.2 at v = 0.55 and 1.0 at v = 0.75.
    values = torch.tensor([0.55, 0.75]).repeat_interleave(10)
    images = values[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    targets = torch.zeros(20, dtype=torch.int64)
    report = watch(_Sum(), images, targets, eps=0.3, norm="l2")
    figures = {check.name: check.figures for check in report.checks}
    assert figures["larger_radius"] == {
        "pgd20": 50.0, "pgd20_2eps": 50.0, "pgd20_4eps": 0.0, "unbounded": 0.0
    }  # fmt: skip
    assert "black_box" not in figures
    assert report.left_out == (
        "Square was left out: its l2 windows need 15 pixels a side, the images have 4.",
    )


def test_the_part_is_class_balanced_and_a_short_class_gives_all_it_has() -> None:
    targets = torch.tensor([0] * 50 + [1] * 3)
    images = torch.full((53, 1, 4, 4), 0.9)  # always class 0
    report = watch(_Sum(), images, targets, eps=0.1, max_images=20, square_queries=1)
    assert (report.images, report.right) == (13, 10)


@pytest.mark.parametrize("step_size", [None, 0.01])
def test_its_pgd20_is_the_number_that_a_study_has_on_the_same_images(
    pgd_at: Trained, step_size: float | None
) -> None:
    model, images, targets = pgd_at
    config = TrialConfig.from_flat({**_RECIPE, "evaluation.step_size": step_size})
    part = MeasuredPart.of("val", LabelledImages(images, targets), 120)
    expected = correct_answers(model, part, "pgd20", config).double().mean().item()
    report = _watch(pgd_at, split="val", step_size=step_size, max_images=120, square_queries=1)
    assert report.images == 120
    assert _figures(report, "one_step")["pgd20"] == pytest.approx(100 * expected)


def test_a_step_grows_with_the_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: dict[float, float] = {}

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        steps[round(knobs["eps"], 6)] = round(knobs["step_size"], 6)
        return images

    monkeypatch.setattr(named, "pgd", spy)
    images, targets = torch.full((5, 1, 4, 4), 0.9), torch.zeros(5, dtype=torch.int64)
    attacks = build_attacks(
        _Sum(), eps=0.1, norm="linf", step_size=0.01, seed=0, split="test", queries=1
    )
    for name in ("pgd20", "pgd20_2eps", "pgd20_4eps"):
        attacks[name](Batch(images, targets, torch.arange(5)))
    assert steps == {0.1: 0.01, 0.2: 0.02, 0.4: 0.04}


def test_nothing_right_is_clear_and_said() -> None:
    images, targets = torch.full((5, 1, 4, 4), 0.9), torch.ones(5, dtype=torch.int64)
    report = watch(_Sum(), images, targets, eps=0.1)
    assert report.verdict == "clear"
    assert "none of 5 images is answered right" in report.headline


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"eps": 0.0}, "`eps > 0` must hold"),
        ({"norm": "l1"}, "unknown norm 'l1'; choose from: linf, l2"),
        ({"max_images": 0}, "`max_images >= 1` must hold, got 0"),
        ({"state": Path("kept")}, "`state` needs `weights`"),
    ],
)
def test_what_cannot_be_watched_is_refused(knobs: dict[str, Any], message: str) -> None:
    images, targets = torch.full((5, 1, 4, 4), 0.9), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ConfigError, match=message):
        watch(_Sum(), images, targets, **{"eps": 0.1, **knobs})


def test_a_model_without_a_gradient_is_explained() -> None:
    class Detached(_Sum):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.detach())

    images, targets = torch.full((5, 1, 4, 4), 0.9), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ConfigError, match="the input detached"):
        watch(Detached(), images, targets, eps=0.1)


def test_logits_that_are_not_finite_are_refused() -> None:
    # a NaN margin is not below 0 and would count as an image that withstands
    images, targets = torch.full((5, 1, 4, 4), 0.9), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(CheckpointError, match="logits are not finite"):
        watch(_Sum(float("nan")), images, targets, eps=0.1)


def test_the_batch_size_changes_square_alone(pgd_at: Trained) -> None:
    whole, parts = (
        _watch(pgd_at, batch_size=size, max_images=40, square_queries=2) for size in (500, 20)
    )
    for one, other in zip(whole.checks[1:], parts.checks[1:], strict=True):
        assert one.figures == pytest.approx(other.figures, rel=1e-4), one.name
