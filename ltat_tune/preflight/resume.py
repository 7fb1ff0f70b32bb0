"""Compares a resume with the start of its study: the space file and the code's defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ltat_tune.config.parameters import PARAMETERS, defaults
from ltat_tune.errors import SpaceError, StudyError
from ltat_tune.space.reader import as_begun, read_space
from ltat_tune.space.space import Space, text_of
from ltat_tune.space.spec import SECTIONS
from ltat_tune.storage.folder import StudyFolder

_NOTHING = "nothing"
# A resume may extend these lists and raise these numbers: what is done stays valid.
_MORE = ("searcher.trials", "confirm.top", "confirm.seeds", "confirm.attacks")
# These change neither a training nor how it is measured.
_SEARCHES_ON = ("budget", "searcher.stop")
_FREE = (
    "resources.",
    "budget",
    "confirm.sentinel",
    "confirm.test_images",
    "searcher.max_failures_in_a_row",
    "searcher.stop",
)


def check_space_file(folder: StudyFolder) -> None:
    """Check the form of a study's space file.

    Raises:
        SpaceError: it is damaged, or was edited to something that breaks a rule.
    """
    try:
        read_space(folder.space)
    except SpaceError as error:
        remedy = f"`ltat-tune doctor {folder.root} --mend` writes it again as the study began"
        raise SpaceError([*error.problems, f"  {remedy}"]) from None


def space_differences(
    facts: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return path -> (then, now) for all that differs in meaning in a study's space file.

    A different spelling of the same value, such as `8/255` or a default written out, is no
    difference.

    Args:
        facts: the study's facts; if they hold no space file, nothing is known to differ.
        now: the space file as it reads now.
    """
    if "space" not in facts:
        return {}
    before = _flat(as_begun(facts["space"]))
    after = _flat(json.loads(json.dumps(now)))
    unsaid = _unsaid({**defaults(), **facts["defaults"]}), _unsaid(defaults())
    differences = {}
    for path in [*before, *(path for path in after if path not in before)]:
        pair = tuple(
            side.get(path, default.get(path, _NOTHING))
            for side, default in zip((before, after), unsaid, strict=True)
        )
        if pair[0] != pair[1]:
            differences[path] = (pair[0], pair[1])
    return differences


def difference_lines(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return one human-readable line for each difference."""
    return [
        f"{path}: {_shown(then)} then, {_shown(now)} now" for path, (then, now) in found.items()
    ]


def check_changes(
    folder: StudyFolder, facts: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Return the differences, one line each, if a resume may have all of them.

    Raises:
        StudyError: a resume may not have some of them; the message lists these.
    """
    changes = space_differences(facts, now)
    enumerates = now.get("searcher", {}).get("name") in ("grid", "list")
    refused = {
        path: pair for path, pair in changes.items() if not _is_allowed(path, *pair, enumerates)
    }
    if refused:
        raise StudyError(
            f"{folder.space} has changed since {folder.root.name} began. A resume may only raise "
            f"or extend {', '.join(_MORE)}, and change resources. Undo these changes, or start a "
            "study under another name with them:"
            + "".join(f"\n  {line}" for line in difference_lines(refused))
        )
    return difference_lines(changes)


def refuse_other_defaults(folder: StudyFolder, facts: dict[str, Any], space: Space) -> None:
    """Check that what the space file leaves out still means what it meant at the start.

    Raises:
        StudyError: with every default that has changed since.
    """
    now, before = defaults(), facts.get("defaults", {})
    written = {*space.fixed, *space.tuned, *space.scenarios[0].values}
    changed = [
        f"{path}: {then} then, {now[path]} now"
        for path, then in before.items()
        if path in now
        and now[path] != then
        and path not in written
        and _acting_defaults(path, now, space) != _acting_defaults(path, {**now, **before}, space)
    ]
    if changed:
        version = facts["versions"].get("ltat-tune", "another version")
        raise StudyError(
            f"{folder.root.name} began with ltat-tune {version}, which had other defaults; "
            f"finish it with that version, or write the old values under fixed in {folder.space}:"
            + "".join(f"\n  {line}" for line in changed)
        )


def _acting_defaults(path: str, written: Mapping[str, str], space: Space) -> list[Any]:
    """Return the default at `path` and those of its other defaults that a study can meet.

    A rule for a method that the study does not train changes nothing in it.
    """
    default, *others = json.loads(written[path])
    return [default, *(rule for rule in others if _can_be(rule[0], rule[1], written, space))]


def _can_be(path: str, values: list[str], written: Mapping[str, str], space: Space) -> bool:
    """Return whether some trial of the study has one of these values at `path`."""
    given = [scenario.values for scenario in space.scenarios if path in scenario.values]
    if path in space.tuned:
        possible = space.tuned[path].choices
    elif given:
        possible = tuple(one[path] for one in given)
    elif path in space.fixed:
        possible = (space.fixed[path],)
    else:
        default, *rules = _acting_defaults(path, written, space)
        possible = (default, *(rule[2] for rule in rules))
    return not set(values).isdisjoint(possible)


def check_extension(folder: StudyFolder, trials: int | None, top: int | None) -> None:
    """Check that `--trials` and `--confirm` may extend a study; None is not given.

    Raises:
        StudyError: a number is below the study's, or `trials` is given and its searcher is a grid
            or a list.
    """
    space = read_space(folder.space)
    searcher, confirm = space.searcher, space.confirm
    if trials is not None and searcher.enumerates:
        raise StudyError(
            f"--trials cannot extend {folder.root.name}: its searcher {searcher.name} runs "
            f"exactly {searcher.trials} configurations, which its space file decides; for more, "
            "change the file and start a study of another name"
        )
    given = ("--trials", trials, searcher.trials), ("--confirm", top, confirm.top)
    problems = [
        f"{option} must be at least the study's {least}, got {number}"
        for option, number, least in given
        if number is not None and number < least
    ]
    if problems:
        raise StudyError("\n".join(problems))


def needs_work(found: Sequence[str]) -> bool:
    """Return whether a finished study with these changes has something left to do."""
    return any(line.startswith((*_MORE, *_SEARCHES_ON, "confirm.test_images")) for line in found)


def goes_on_searching(found: Sequence[str]) -> bool:
    """Return whether these changes let a search go on that had come to its end."""
    return any(line.startswith(("searcher.trials", *_SEARCHES_ON)) for line in found)


def _is_allowed(path: str, then: Any, now: Any, enumerates: bool) -> bool:
    if path.startswith(_FREE):
        return True
    if path not in _MORE or (path == "searcher.trials" and enumerates):
        return False
    if isinstance(then, list) and isinstance(now, list):
        return set(then) <= set(now)
    return bool(now >= then)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space file by dotted path, with typed values and with its defaults written out."""
    flat = {p: _typed(p, value) for p, value in (document.get("fixed") or {}).items()}
    for path, values in (document.get("scenarios") or {}).items():
        flat[f"scenarios {path}"] = [_typed(path, value) for value in values]
    for path, domain in (document.get("tuned") or {}).items():
        flat[f"tuned {path}"] = domain
    for key, value in document.items():
        if key in SECTIONS:
            value = {**SECTIONS[key]().model_dump(mode="json"), **_part(key, value or {})}
            flat |= {f"{key}.{field}": given for field, given in value.items()}
        elif key not in ("fixed", "scenarios", "tuned"):
            flat[key] = value
    for key in SECTIONS.keys() - document.keys():
        flat |= {f"{key}.{f}": v for f, v in SECTIONS[key]().model_dump(mode="json").items()}
    return flat


def _part(key: str, raw: dict[str, Any]) -> dict[str, Any]:
    """Return a section's typed values, or the raw ones if this version's rules refuse them."""
    try:
        typed: dict[str, Any] = SECTIONS[key].model_validate(raw).model_dump(mode="json")
        return typed
    except ValidationError:
        return raw


def _unsaid(written: Mapping[str, str]) -> dict[str, Any]:
    """Return the default of each path, where it depends on no other choice."""
    by_path = {path: json.loads(text) for path, text in written.items()}
    return {path: values[0] for path, values in by_path.items() if len(values) == 1}


def _typed(path: str, value: Any) -> Any:
    return PARAMETERS[path].check(value)[0] if path in PARAMETERS else value


def _shown(value: Any) -> str:
    return text_of(value) if not isinstance(value, dict) else str(value)
