"""Validations on the pretended GPU: the plain attack's answers, from graphs of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import named, shaped_replays
from ltat_tune.attacks.named import EvaluationAttack
from ltat_tune.attacks.replays import Replays
from ltat_tune.attacks.shaped_replays import RecordedAttacks
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.training.evaluation import MeasuredPart, correct_answers
from ltat_tune.training.trainer import Trainer
from tests.cuda.device import Pretended, to_host
from tests.cuda.process import Machine
from tests.cuda.recording import Graph
from tests.cuda.test_mutants import a_replay_keeps_the_images_that_were_recorded
from tests.cuda.trainings import Fitted, config_of, images, on_gpu

# Of 150 images so many are right before the attack; they fill 64, 192 and 128.
RIGHT = (40, 140, 30, 150, 100, 64)
Mutant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Answers:
    """What several validations of a model found, and what the GPU saw of them."""

    correct: list[list[bool]]
    adv_images: list[str]  # digests
    waits: dict[str, int]
    recordings: int
    replays: int
    note: str


def _right_on(model: Any, given: Tensor, number: int) -> LabelledImages:
    """The images with labels by which the model is right on the first so many."""
    with torch.no_grad():
        answers = to_host(model(given.to("cuda", torch.float32) / 255).argmax(dim=1))
    wrong = torch.arange(len(given)) >= number
    return LabelledImages(given, (answers + wrong) % 4)


def validations(
    graphs: str, mutant: Mutant = nullcontext, attack: str = "pgd2", precision: str = "fp32"
) -> Answers:
    """Validate a model several times; its weights change in place in between."""
    config = config_of({"compute.graphs": graphs, "compute.precision": precision,
                        "evaluation.batch_size": 150, "attack.eps": 0.01})  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    given = torch.randint(0, 256, (150, 3, 16, 16), dtype=torch.uint8, generator=generator)
    correct, digests, run = [], list[str](), EvaluationAttack.run

    def noted(*given: Any, **knobs: Any) -> Tensor:
        result = run(*given, **knobs)
        digests.append(sha256(to_host(result).numpy().tobytes()).hexdigest())
        return result

    with Pretended() as gpu, mutant(), mock.patch.object(EvaluationAttack, "run", noted):
        trainer = Trainer(config, splits=images(), device="cuda")
        trainer.start()
        recorded = RecordedAttacks.on(trainer.device, config.compute)
        model = trainer.model.eval()
        before = gpu.waits.copy()
        for number in RIGHT:
            data = _right_on(model, given, number).to(trainer.device)
            part = MeasuredPart.of("val", data, None)
            found = correct_answers(model, part, attack, config, replays=recorded.validation)
            correct.append(to_host(found).tolist())
            with torch.no_grad():
                for value in model.parameters():
                    value.mul_(1.1).add_(0.01)
        return Answers(
            correct, digests, dict(gpu.waits - before), sum(gpu.recordings.values()), gpu.replays,
            recorded.note,
        )  # fmt: skip


def the_folding_of_the_first_validation_is_kept() -> AbstractContextManager[Any]:
    return mock.patch.object(shaped_replays, "forgotten_folds", lambda model: nullcontext())


def all_shapes_have_one_recording() -> AbstractContextManager[Any]:
    return mock.patch.object(
        shaped_replays, "_key", lambda model, images, knobs: (model, torch.Size([64]), knobs)
    )


def a_shape_is_replayed_in_another() -> AbstractContextManager[Any]:
    """The key forgets the shape, and the recording of 64 images takes 64 of 192."""
    real = Replays.__call__

    def call(self: Replays, model: nn.Module, *batch: Tensor) -> Tensor:
        size = self._size[0] if self._size else len(batch[0])
        found = real(self, model, *(values[:size] for values in batch))
        return torch.cat([found, batch[0][size:]])

    stack = ExitStack()
    stack.enter_context(all_shapes_have_one_recording())
    stack.enter_context(mock.patch.object(Replays, "__call__", call))
    return stack


def replays_do_nothing() -> AbstractContextManager[Any]:
    return mock.patch.object(Graph, "replay", lambda self: None)


@contextmanager
def the_attack_waits() -> Iterator[None]:
    """The validation attack reads a number of the GPU, which no recording may."""
    real = named._ITERATED["cw"]

    def waiting(logits: Tensor, targets: Tensor, clean: Tensor | None) -> Tensor:
        return real(logits, targets, clean) * (0 * float(logits.detach().max()) + 1)

    with mock.patch.dict(named._ITERATED, {"cw": waiting}):
        yield


@pytest.mark.parametrize("attack", ["pgd2", "cw2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_shape_gives_the_plain_answers_and_waits_once_for_each_recording(
    machine: Machine, attack: str, precision: str
) -> None:
    plain, graphs = (
        machine.run(validations, how, attack=attack, precision=precision)
        for how in ("off", "auto")
    )
    assert (graphs.correct, graphs.adv_images) == (plain.correct, plain.adv_images)
    assert len(plain.adv_images) == len(RIGHT)
    assert any(sum(found) < n for found, n in zip(plain.correct, RIGHT, strict=True))
    # 64 for 40 and again for 30 and 64, 192 for 140 and again for 150, 128 once
    assert (graphs.recordings, graphs.replays, graphs.note) == (2, 3, "")
    assert (plain.recordings, plain.replays) == (0, 0)
    more = {place: n for place, n in graphs.waits.items() if n != plain.waits.get(place)}
    assert len(more) == 1 and sum(more.values()) == 2
    assert "a number is read at attacks/replays.py" in next(iter(more))


@pytest.mark.parametrize(
    "mutant",
    [
        the_folding_of_the_first_validation_is_kept,
        a_shape_is_replayed_in_another,
        a_replay_keeps_the_images_that_were_recorded,
    ],
)
def test_a_replay_that_misses_a_change_gives_other_answers(
    machine: Machine, mutant: Mutant
) -> None:
    found, plain = machine.run(validations, "auto", mutant), machine.run(validations, "off")
    assert found.adv_images != plain.adv_images


def test_a_recording_never_takes_a_batch_of_another_shape(machine: Machine) -> None:
    """Replays itself refuses one, so the answers stay right, and fewer are replayed."""
    found = machine.run(validations, "auto", all_shapes_have_one_recording)
    assert found.adv_images == machine.run(validations, "off").adv_images
    assert found.replays < 3


@pytest.mark.parametrize(
    ("mutant", "message"),
    [
        (replays_do_nothing, "a replay left images unwritten"),
        (the_attack_waits, "a number is read"),
    ],
)
def test_what_cannot_be_recorded_is_attacked_directly_and_named(
    machine: Machine, mutant: Mutant, message: str
) -> None:
    found = machine.run(validations, "auto", mutant, attack="cw2")
    assert found.adv_images == machine.run(validations, "off", attack="cw2").adv_images
    assert "the validation attack could not be recorded" in found.note and message in found.note


def trained(graphs: str, mutant: Mutant, **values: object) -> Fitted:
    """Train with three validations."""
    with mutant():
        return on_gpu({"compute.graphs": graphs, "optim.epochs": 3,
                       "evaluation.every_epochs": 1, **values})  # fmt: skip


def test_a_training_keeps_its_own_graph_where_its_validation_has_none(machine: Machine) -> None:
    values: dict[str, object] = {"evaluation.val_attack": "cw2"}
    found = machine.run(trained, "auto", the_attack_waits, **values)
    plain = machine.run(trained, "off", nullcontext, **values)
    assert (found.weights, found.metrics) == (plain.weights, plain.metrics)
    assert "the validation attack could not be recorded" in found.note
    assert found.recordings == {0: 2} and found.replays > 3  # one of each; the steps replay


@contextmanager
def no_memory_to_record_a_validation() -> Iterator[None]:
    """The second recording of the process, which is that of the validation, has no room."""
    real, recordings = Pretended.do, []

    def do(self: Pretended, *given: Any) -> Any:
        if self.tape is not None and not self.in_step:
            recordings.append(self.tape)
            self.tape.spoiled = True
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, *given)

    with mock.patch.object(Pretended, "do", do):
        yield
    assert len(recordings) == 1  # it is not tried again


def test_a_training_goes_on_where_no_memory_is_left_for_the_graph_of_its_validation(
    machine: Machine,
) -> None:
    found = machine.run(trained, "auto", no_memory_to_record_a_validation)
    plain = machine.run(trained, "off", nullcontext)
    assert (found.weights, found.metrics) == (plain.weights, plain.metrics)
    assert "no memory is left for it" in found.note and found.replays > 3


def released(folder: Path, stop: bool) -> tuple[int, int]:
    """The recordings that live while a training runs, and after it; a probe has freed its own."""
    living: list[int] = []

    def on_epoch(done: Any) -> None:
        living.append(len(gpu.graphs))
        if stop and done.epoch == 2:
            raise SystemExit

    config = config_of({"optim.epochs": 3, "evaluation.every_epochs": 1})
    with Pretended() as gpu:
        trainer = Trainer(config, splits=images(), device="cuda")
        with suppress(SystemExit):
            trainer.fit(
                on_epoch, checkpoint=folder / "checkpoint.pt", probe_at=[1], probe_epochs=1
            )
        return max(living), len(gpu.graphs)


@pytest.mark.parametrize("stop", [False, True])
def test_recordings_are_released_when_a_training_ends_or_a_rung_stops_it(
    machine: Machine, tmp_path: Path, stop: bool
) -> None:
    assert machine.run(released, tmp_path, stop) == (2, 0)
