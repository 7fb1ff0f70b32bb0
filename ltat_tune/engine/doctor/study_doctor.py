"""Checks a study as a whole, and mends what can be made again: `ltat-tune doctor STUDY`.

Ledger, results, checkpoints, exports, decoded images and MLflow's runs must fit together. Nothing
is deleted that cannot be made again: what is damaged is set aside as `NAME.damaged`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ltat_tune.config.config_file import load_config
from ltat_tune.engine.doctor.damage import (
    MEND,
    Damage,
    attempt,
    read_trials_quietly,
    set_aside,
)
from ltat_tune.engine.doctor.lost_configurations import lost_configurations
from ltat_tune.engine.doctor.lost_files import lost_files
from ltat_tune.engine.doctor.rebuilt_ledger import disagreeing, rebuild_ledger
from ltat_tune.errors import CheckpointError, SpaceError, StudyError
from ltat_tune.preflight.finding import Finding
from ltat_tune.space.reader import read_space
from ltat_tune.storage.cleanup import waste
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import store_of
from ltat_tune.storage.journal import damaged_lines
from ltat_tune.storage.subsets import subset_key
from ltat_tune.storage.task import Task
from ltat_tune.storage.training_files import (
    RESULT,
    SENTINEL,
    TEST,
    read_complete,
    read_masking,
    read_test,
    read_training,
)
from ltat_tune.tracking.store import run_states, sqlite_file


def examine_study(
    folder: StudyFolder, *, mend: bool = False, uri: str | None = None
) -> list[Finding]:
    """Return what is wrong with a study, or that nothing is.

    Args:
        folder: the study, which may lack its own facts or its space file.
        mend: also mend what can be mended; the findings say what was done.
        uri: where its MLflow runs are, if its own facts are lost.

    Raises:
        StudyError: the study is running, or it is to be mended and cannot be written.
    """
    if not mend:
        lost = [damage.finding for damage in _lost(folder, uri)]
        return lost or _reported(folder, [damage.finding for damage in _damages(folder)])
    with folder.locked():
        findings = [_mended(damage) for damage in _lost(folder, uri)]
        if all(finding.level == "ok" for finding in findings):
            findings += map(_mended, _damages(folder))
    return _reported(folder, findings)


def _mended(damage: Damage) -> Finding:
    """Mend a damage if it can be; return what was done, or what is wrong."""
    if damage.mend is None:
        return damage.finding
    return Finding(damage.finding.name, "ok", f"{damage.finding.text}: {damage.mend()}")


def _lost(folder: StudyFolder, uri: str | None) -> Iterator[Damage]:
    """Yield the damages of the two files without which nothing else can be read."""
    for text, mend, remedy in lost_files(folder, uri):
        done = f"{MEND} writes it again from the study's records" if mend else remedy
        yield Damage(Finding("study", "fail", text, done), mend)


def _reported(folder: StudyFolder, findings: list[Finding]) -> list[Finding]:
    if findings:
        return findings
    return [Finding("study", "ok", f"{folder.root}: everything in it fits together")]


def _damages(folder: StudyFolder) -> Iterator[Damage]:
    yield from _trainings(folder)
    yield from _ledger(folder)
    yield from _missing_results(folder)
    yield from lost_configurations(folder)
    yield from _results(folder)
    yield from _exports(folder)
    yield from _images(folder)
    yield from _store(folder)
    yield from _left_over(folder)


def _ledger(folder: StudyFolder) -> Iterator[Damage]:
    mend = partial(rebuild_ledger, folder)
    bad = damaged_lines(folder.ledger) if folder.ledger.exists() else []
    if bad:
        text = f"{folder.ledger} has {len(bad)} damaged lines, first line {bad[0]}"
    elif not folder.ledger.exists():
        trials = [*folder.root.glob("trials/*/t[0-9]*")]
        text = f"{folder.ledger} is gone, but {len(trials)} trials are there" if trials else ""
    else:
        try:
            wrong = disagreeing(folder)
        except SpaceError as error:
            yield Damage(Finding("space", "fail", str(error), f"mend {folder.space}"))
            return
        except StudyError as error:
            yield Damage(_fail("ledger", str(error)), mend)
            return
        text = (
            f"{folder.ledger} does not tell what the files of {len(wrong)} trials tell, first "
            f"{wrong[0]}" if wrong else ""
        )  # fmt: skip
    if text:
        remedy = f"{MEND} makes it again from the trials' own files"
        yield Damage(Finding("ledger", "fail", text, remedy), mend)


def _trainings(folder: StudyFolder) -> Iterator[Damage]:
    for place in _places(folder):
        complete = attempt(partial(read_training, place))
        for name, read in ((RESULT, read_training), (TEST, read_test), (SENTINEL, read_masking)):
            if attempt(partial(read, place)) is False:
                text = f"{_name(folder, place)}/{name} is damaged"
                mend = partial(_again, folder, place) if name == RESULT else partial(
                    _aside_for_resume, place / name
                )  # fmt: skip
                yield Damage(_fail("files", text), mend)
        checkpoint = place / "checkpoint.pt"
        if not checkpoint.exists():
            continue
        try:
            weights = _kept_weights(checkpoint)
        except (CheckpointError, OSError) as error:
            text = f"{_name(folder, checkpoint)}: {error}"
            yield Damage(_fail("checkpoint", text), partial(_aside_for_resume, checkpoint))
            continue
        end = None if complete is False else read_complete(place)
        if end is not None and weights not in (None, end.weights):
            text = f"{_name(folder, checkpoint)} holds other weights than {RESULT} records"
            yield Damage(_fail("checkpoint", text), partial(_aside_for_resume, checkpoint))


def _missing_results(folder: StudyFolder) -> Iterator[Damage]:
    """Yield the trials that are complete by the ledger and have no result."""
    for row in read_trials_quietly(folder):
        if row.state == "complete" and not (row.folder / RESULT).exists():
            text = f"{_name(folder, row.folder)}/{RESULT} is gone, though the trial is complete"
            remedy = f"{MEND} writes it again from the checkpoint"
            mend = partial(_again, folder, row.folder)
            yield Damage(Finding("files", "fail", text, remedy), mend)


def _kept_weights(checkpoint: Path) -> str | None:
    """Return the hash of the weights that a complete training kept; None if it is not kept apart.

    Raises:
        CheckpointError: the file is damaged.
    """
    from ltat_tune.training.checkpoint import read_checkpoint, weights_hash

    kept = read_checkpoint(checkpoint).get("kept") or {}
    return weights_hash(kept["weights"]) if kept.get("weights") else None


def _again(folder: StudyFolder, place: Path) -> str:
    """Make `result.json` again from the checkpoint, which is complete or is trained to its end."""
    from ltat_tune.engine.worker import run_task

    if (place / RESULT).exists():
        set_aside(place / RESULT)
    config, _ = load_config(place / "config.yaml")
    space = read_space(folder.space)
    task = Task(
        key=_name(folder, place), kind="confirmation", scenario=place.parent.name,
        config=config.flat(), folder=str(place.resolve()), cache=str(folder.cache.resolve()),
        subsets=str(folder.subsets.resolve()), threads=1, device="cpu",
        epochs=config.optim.epochs, plugins=tuple(plugin.as_data() for plugin in space.plugins),
        second_opinion=space.objective.is_checked, precision=folder.read_facts().get("precision"),
    )  # fmt: skip
    if not (place / "checkpoint.pt").exists():
        return "its checkpoint was deleted too, so its numbers are gone"
    run_task(task, lambda values: None)
    return "written again from the checkpoint"


def _results(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.results.model import read_results

    if attempt(partial(read_results, folder)) is False:
        text = f"{folder.results.name} is damaged"
        yield Damage(_fail("results", text), partial(_aside_for_resume, folder.results))
    by_choice: dict[str, set[str]] = {}
    for place in _places(folder):
        end = attempt(partial(read_complete, place))
        config = attempt(partial(load_config, place / "config.yaml"))
        if end and config:
            by_choice.setdefault(subset_key(config[0]), set()).add(end.subset_hash)
    for hashes in by_choice.values():
        if len(hashes) > 1:
            text = f"trainings of one scenario used different images: {', '.join(sorted(hashes))}"
            remedy = "their numbers cannot be compared; run the study anew with --overwrite"
            yield Damage(Finding("images", "fail", text, remedy))


def _exports(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.training.weights_file import SUFFIX, read_weights

    kinds: list[tuple[str, Callable[[Path], object]]] = [(SUFFIX, read_weights)]
    if find_spec("onnx") is not None:
        from ltat_tune.export.onnx_file import read_about

        kinds.append((".onnx", read_about))
    files = [(path, read) for kind, read in kinds for path in folder.best.glob(f"*{kind}")]
    for path, read in sorted(files, key=lambda file: file[0]):
        if attempt(partial(read, path)) is False:
            text = f"{_name(folder, path)} is damaged"
            yield Damage(_fail("export", text), partial(_aside_for_resume, path))


def _images(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.data.cache import is_whole

    for entry in sorted(folder.cache.glob("[!.]*")):
        if entry.suffix != ".damaged" and not is_whole(entry):
            text = f"decoded images {_name(folder, entry)} are damaged"
            yield Damage(_fail("images", text), partial(_aside_for_resume, entry))


def _store(folder: StudyFolder) -> Iterator[Damage]:
    store = store_of(folder)
    if not store.exists:
        if folder.ledger.exists() and read_trials_quietly(folder):
            text = "MLflow has none of the study's runs"
            yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} writes them"))
        return
    try:
        states = run_states(store.uri, store.experiment, store.uid)
    except StudyError as error:
        file = sqlite_file(store.uri)
        own = file is not None and file.parent == folder.root.resolve()
        mend = partial(_aside_for_resume, folder.root / file.name) if own and file else None
        yield Damage(_fail("mlflow", str(error)), mend)
        return
    if not folder.is_running():
        running = sorted(key for key, (state, _) in states.items() if state == "RUNNING")
        if running:
            text = f"{len(running)} runs are RUNNING though nothing runs, first {running[0]}"
            yield Damage(Finding("mlflow", "warn", text, f"{folder.resume_command} closes them"))
    doubled = sorted(key for key, (_, count) in states.items() if count > 1)
    if doubled:
        text = f"{len(doubled)} trainings have more than one run, first {doubled[0]}"
        yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} keeps the longer"))
    rows = read_trials_quietly(folder)
    missing = sorted(row.name for row in rows if row.ended and row.name not in states)
    if missing:
        text = f"{len(missing)} trials have no run, first {missing[0]}"
        yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} writes them"))


def _left_over(folder: StudyFolder) -> Iterator[Damage]:
    found = attempt(partial(waste, folder)) or []
    torn = [item for item in found if "half written" in item.why]
    if torn and not folder.is_running():
        text = f"{len(torn)} files were left half written, first {_name(folder, torn[0].path)}"
        yield Damage(Finding("files", "warn", text, "ltat-tune gc deletes them"))


def _places(folder: StudyFolder) -> list[Path]:
    """Return the folders of all trainings."""
    trials = folder.root.glob("trials/*/t[0-9]*")
    stages = folder.root.glob("trials/*/t[0-9]*/[cs][oe][pe]*-*")
    places = [*trials, *stages, *folder.root.glob("confirmations/*/*")]
    return sorted(place for place in places if place.is_dir() and place.suffix != ".damaged")


def _fail(name: str, text: str) -> Finding:
    return Finding(name, "fail", text, f"{MEND} sets it aside; what can be made again is")


def _name(folder: StudyFolder, path: Path) -> str:
    return str(path.relative_to(folder.root))


def _aside_for_resume(path: Path) -> str:
    set_aside(path)
    return f"set aside as {path.name}.damaged; a resume makes it again"
