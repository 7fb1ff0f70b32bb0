"""Evaluation attacks by name: one contract for all, and what each name stands for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import autoattack, cw_l2, pgd, square
from ltat_tune.attacks.named import parse_attack
from ltat_tune.attacks.noise import start_noise
from ltat_tune.errors import ConfigError
from tests.attacks.short_autoattack import shorten_autoattack
from tests.attacks.toys import CentredLinear, snapshot, tiny_cnn, undecided, unusual_state

ALL = (
    "clean", "fgsm", "pgd3", "mim3", "cw3", "adaptive3", "transfer3", "pgd3x3", "mim3x2", "cw3x2",
    "adaptive3x2", "transfer3x2", "square", "aa", "cwl2", "cwl2_fixed",
)  # fmt: skip
BY_PLACE = ("clean", "fgsm", "pgd3", "mim3", "cw3", "adaptive3", "transfer3", "pgd3x3", "mim3x2")
EPS = {"linf": 0.1, "l2": 1.0}
_SOURCES = {dtype: tiny_cnn(seed=1).to(dtype) for dtype in (torch.float32, torch.float64)}


def _cases(*names: str) -> list[tuple[str, str]]:
    return [(n, norm) for n in names for norm in EPS if norm == "l2" or not n.startswith("cwl2")]


@pytest.fixture(autouse=True)
def _short_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack of the standard version really runs, but for few iterations."""
    shorten_autoattack(monkeypatch, iterations=5, queries=10)


def _batch(n: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, images of 16 pixels a side with many 0 and 1, the right targets."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(n, 1, 16, 16, generator=generator).mul_(1.4).sub_(0.2).clamp_(0, 1)
    model = undecided(3, images)
    with torch.no_grad():
        return model, images, model(images).argmax(dim=1)


def _run(
    name: str,
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    norm: str,
    seed: int = 0,
    places: Tensor | None = None,
) -> Tensor:
    source = _SOURCES[images.dtype] if name.startswith("transfer") else None
    return parse_attack(name, cw_iterations=6, queries=20).run(
        model, images, targets, eps=EPS[norm], norm=norm, seed=seed, source=source, places=places
    )


def _start(images: Tensor, norm: str, seed: int, stream: str) -> Tensor:
    noise = start_noise(
        images, torch.arange(len(images)), EPS[norm], norm=norm, seed=seed, stream=stream
    )
    return (images + noise).clamp(0, 1)


@pytest.mark.parametrize(("name", "norm"), _cases(*ALL))
def test_every_attack_stays_in_the_ball_and_leaves_the_model_as_found(
    name: str, norm: str
) -> None:
    model, images, targets = _batch()
    unusual_state(model)  # type: ignore[arg-type]
    before, random_state, copy = snapshot(model), torch.get_rng_state(), images.clone()
    adv_images = _run(name, model, images, targets, norm)
    assert snapshot(model) == before and torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(images, copy)
    shift = (adv_images - images).flatten(1)
    lengths = shift.abs().amax(dim=1) if norm == "linf" else shift.norm(dim=1)
    assert lengths.max().item() <= EPS[norm] + 1e-5
    assert adv_images.shape == images.shape and not adv_images.requires_grad
    assert adv_images.min().item() >= 0 and adv_images.max().item() <= 1
    if name != "cwl2_fixed":  # which misses all of them
        assert (lengths.max().item() > 0) == (name != "clean")
    # The same seed gives the same images, in inference mode too.
    with torch.inference_mode():
        again = _run(name, model, images.clone(), targets.clone(), norm)
    assert torch.equal(again, adv_images)
    assert _run(name, model, images[:0], targets[:0], norm).shape == (0, 1, 16, 16)


@pytest.mark.parametrize("name", ["pgd3", "cw3", "adaptive3", "transfer3", "square"])
def test_another_seed_gives_other_images(name: str) -> None:
    model, images, targets = _batch()
    first, second = (_run(name, model, images, targets, "linf", seed) for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("name", "norm"), _cases(*BY_PLACE))
def test_an_image_in_its_place_is_attacked_alike_whatever_else_is_in_the_batch(
    name: str, norm: str
) -> None:
    """Alone, in another order, without its neighbours."""
    model, images, targets = _batch(8)
    model.double()  # the order of a float32 sum may turn a sign
    images = images.double()
    places = torch.tensor([3, 500, 0, 41, 40, 7, 99, 1000])
    together = _run(name, model, images, targets, norm, places=places)
    for chosen in ([0], [5], [7, 2, 0], [6, 5, 4, 3, 2, 1, 0]):
        found = _run(name, model, images[chosen], targets[chosen], norm, places=places[chosen])
        torch.testing.assert_close(found, together[chosen])


def test_the_place_is_what_the_noise_depends_on() -> None:
    model, images, targets = _batch(4)
    first = _run("pgd3", model, images, targets, "linf", places=torch.tensor([0, 1, 2, 3]))
    assert torch.equal(_run("pgd3", model, images, targets, "linf"), first)
    moved = _run("pgd3", model, images, targets, "linf", places=torch.tensor([0, 1, 2, 4]))
    assert torch.equal(moved[:3], first[:3]) and not torch.equal(moved[3], first[3])


def test_more_restarts_break_all_that_the_attack_without_restarts_breaks() -> None:
    """Their first attempt is that attack, so no image comes back to life.

    Later attempts see those that are left; they find of each what they find when it is alone.
    """
    model, images, targets = _batch(64)
    model.double()  # the order of a float32 sum may turn a sign
    images = images.double()

    def run(name: str, chosen: Tensor) -> Tensor:
        return parse_attack(name).run(
            model, images[chosen], targets[chosen], eps=0.02, norm="linf", step_size=0.01, seed=0,
            places=chosen,
        )  # fmt: skip

    everything = torch.arange(64)
    fooled = []
    for name in ("cw1", "cw1x2", "cw1x6"):
        adv_images = run(name, everything)
        with torch.no_grad():
            fooled.append(model(adv_images).argmax(dim=1) != targets)
    assert bool((fooled[1] | ~fooled[0]).all()) and bool((fooled[2] | ~fooled[1]).all())
    assert 0 < fooled[0].sum() < fooled[2].sum() < 64
    for chosen in (everything[fooled[2] & ~fooled[0]], everything[~fooled[2]][:3]):
        torch.testing.assert_close(run("cw1x6", chosen), adv_images[chosen])


@pytest.mark.parametrize(
    ("name", "noise"),
    [("pgd20", "place"), ("transfer5", "place"), ("mim20", "none"), ("mim20x2", "place"),
     ("fgsm", "none"), ("clean", "none"), ("cwl2", "none"), ("aa", "batch"),
     ("square", "batch")],
)  # fmt: skip
def test_an_attack_says_what_its_noise_depends_on(name: str, noise: str) -> None:
    assert parse_attack(name).noise == noise


@pytest.mark.parametrize(
    ("name", "objective", "momentum"),
    [("pgd4", "cross_entropy", None), ("cw4", "margin", None), ("mim4", "cross_entropy", 1.0)],
)
@pytest.mark.parametrize(("norm", "step_size"), [("linf", 0.025), ("l2", 0.2)])
def test_iterated_attacks_are_pgd_with_steps_of_eps_over_4_or_5(
    name: str, objective: str, momentum: float | None, norm: str, step_size: float
) -> None:
    model, images, targets = _batch()
    expected = pgd(
        model, images, targets, eps=EPS[norm], step_size=step_size, steps=4, norm=norm,
        start="none" if name == "mim4" else _start(images, norm, 9, f"{name}/0"),
        objective=objective, momentum=momentum,
    )  # fmt: skip
    assert torch.equal(_run(name, model, images, targets, norm, seed=9), expected)


def test_the_adaptive_attack_is_pgd_on_a_model_of_ten_times_the_logits() -> None:
    class TenTimes(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return 10 * self.model(images)  # type: ignore[no-any-return]

    model, images, targets = _batch()
    expected = pgd(
        TenTimes(model), images, targets, eps=0.1, step_size=0.025, steps=4,
        start=_start(images, "linf", 0, "adaptive4/0"),
    )  # fmt: skip
    assert torch.equal(_run("adaptive4", model, images, targets, "linf"), expected)
    plain = pgd(
        model, images, targets, eps=0.1, step_size=0.025, steps=4,
        start=_start(images, "linf", 0, "adaptive4/0"),
    )  # fmt: skip
    assert not torch.equal(plain, expected)


def test_a_transfer_is_pgd_on_the_source() -> None:
    model, images, targets = _batch()
    source = tiny_cnn(seed=1)
    expected = pgd(
        source, images, targets, eps=0.1, step_size=0.025, steps=3,
        start=_start(images, "linf", 0, "transfer3/0"),
    )  # fmt: skip
    assert torch.equal(_run("transfer3", model, images, targets, "linf"), expected)


def test_square_and_autoattack_are_the_adapters() -> None:
    model, images, targets = _batch()
    expected = square(model, images, targets, eps=1.0, seed=3, queries=20, norm="l2")
    assert torch.equal(_run("square", model, images, targets, "l2", seed=3), expected)
    expected = autoattack(model, images, targets, eps=0.1, seed=3)
    assert torch.equal(_run("aa", model, images, targets, "linf", seed=3), expected)


def test_the_two_readings_of_carlini_and_wagner_count_within_the_radius() -> None:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(12, 1, 2, 2, generator=generator, dtype=torch.float64) * 0.2 + 0.4
    model = CentredLinear(images)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    attack = parse_attack("cwl2", cw_iterations=40)
    nearest = attack.nearest(model, images, targets)
    expected = cw_l2(model, images, targets, iterations=40)
    assert torch.equal(nearest.distances, expected.distances)
    eps = nearest.distances.median().item()
    adv_images = attack.run(model, images, targets, eps=eps, norm="l2", seed=0)
    moved = (adv_images != images).flatten(1).any(dim=1)
    assert torch.equal(moved, nearest.distances <= eps) and 0 < moved.sum() < 12
    assert bool(((adv_images - images).flatten(1).norm(dim=1) <= eps + 1e-12).all())
    fixed = parse_attack("cwl2_fixed")
    expected = cw_l2(
        model, images, targets, search_steps=1, first_c=1.0, iterations=50, abort_early=False
    )
    everything = fixed.run(model, images, targets, eps=math.inf, norm="l2", seed=0)
    assert torch.equal(everything, expected.adv_images)
    assert parse_attack("cwl2").cw_iterations == 10000


def test_a_step_of_ones_own_is_taken() -> None:
    model, images, targets = _batch()
    adv_images = parse_attack("mim1").run(
        model, images, targets, eps=0.1, norm="linf", step_size=0.01, seed=0
    )
    assert (adv_images - images).abs().max().item() == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "norm", "source", "message"),
    [
        ("cwl2", "linf", False, "cwl2 must be run in norm l2, got norm linf"),
        ("cwl2_fixed", "linf", False, "cwl2_fixed must be run in norm l2, got norm linf"),
        ("transfer20", "linf", False, "transfer20 needs source model"),
        ("pgd20", "linf", True, "pgd20 has no source model"),
        ("pgd20", "l1", False, "unknown norm 'l1'; choose from: linf, l2"),
    ],
)
def test_what_cannot_be_run_is_refused(name: str, norm: str, source: bool, message: str) -> None:
    model, images, targets = _batch(2)
    with pytest.raises(ConfigError, match=message):
        parse_attack(name).run(
            model, images, targets, eps=0.1, norm=norm, seed=0, source=model if source else None
        )


def test_names_outside_the_grammar_are_refused_with_the_choice() -> None:
    with pytest.raises(
        ConfigError, match="unknown attack 'pgd'; did you mean pgd20. Choose from: cl"
    ):
        parse_attack("pgd")
    with pytest.raises(ConfigError, match="pgd20 does not search for the nearest image"):
        parse_attack("pgd20").nearest(*_batch(2))
    assert parse_attack("transfer20x5").needs_source and not parse_attack("aa").needs_source
    assert parse_attack("pgd20x5").name == "pgd20x5"
