"""What became different between the start of a study and its resume: its space file, the code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ltat_tune.config.parameters import PARAMETERS, defaults
from ltat_tune.errors import StudyError
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space, text_of
from ltat_tune.space.spec import PARTS
from ltat_tune.storage.folder import StudyFolder

_NOTHING = "nothing"
# Lists that may get longer and numbers that may grow: nothing that is done becomes wrong.
_MORE = ("searcher.trials", "confirm.top", "confirm.seeds", "confirm.attacks")
# These change neither what is trained nor what it is measured by.
_FREE = ("resources.", "budget", "confirm.sentinel", "searcher.max_failures_in_a_row")


def space_differences(
    facts: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Path -> (then, now) of everything in which a study's space file means something else.

    What is only written differently, `8/255` or a default in full, is no difference.

    Args:
        facts: the study's; of one that kept no space file nothing is known to differ.
        now: the space file as it is read now.
    """
    if "space" not in facts:
        return {}
    before, after = _flat(facts["space"]), _flat(json.loads(json.dumps(now)))
    unsaid = _unsaid({**defaults(), **facts["defaults"]}), _unsaid(defaults())
    found = {}
    for path in [*before, *(path for path in after if path not in before)]:
        pair = tuple(
            side.get(path, default.get(path, _NOTHING))
            for side, default in zip((before, after), unsaid, strict=True)
        )
        if pair[0] != pair[1]:
            found[path] = (pair[0], pair[1])
    return found


def difference_lines(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """One line for each difference, for people."""
    return [
        f"{path}: {_shown(then)} then, {_shown(now)} now" for path, (then, now) in found.items()
    ]


def check_changes(
    folder: StudyFolder, facts: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """The differences that a resume may have, as lines.

    Raises:
        StudyError: there are others, with every one of them.
    """
    found = space_differences(facts, now)
    enumerates = now.get("searcher", {}).get("name") in ("grid", "list")
    refused = {
        path: pair for path, pair in found.items() if not _is_allowed(path, *pair, enumerates)
    }
    if refused:
        raise StudyError(
            f"{folder.space} was changed since {folder.root.name} began; a resume may have more "
            f"{', '.join(_MORE)} and other resources. Put back, or start a study of another name "
            "with:" + "".join(f"\n  {line}" for line in difference_lines(refused))
        )
    return difference_lines(found)


def refuse_other_defaults(folder: StudyFolder, facts: dict[str, Any], space: Space) -> None:
    """A value that the space file leaves out must mean what it meant when the study began.

    Raises:
        StudyError: with every default that another version of this package had.
    """
    now = defaults()
    said = {*space.fixed, *space.tuned, *space.scenarios[0].values}
    changed = [
        f"{path}: {then} then, {now[path]} now"
        for path, then in facts.get("defaults", {}).items()
        if path in now and now[path] != then and path not in said
    ]
    if changed:
        made = facts["versions"].get("ltat-tune", "another version")
        raise StudyError(
            f"{folder.root.name} was made with ltat-tune {made}, whose defaults were others; "
            f"finish it with that version, or write the old values under fixed in {folder.space}:"
            + "".join(f"\n  {line}" for line in changed)
        )


def check_extension(folder: StudyFolder, trials: int) -> None:
    """Raises: StudyError where so many trials are fewer than there are, or of a grid or list."""
    space = read_space(folder.space)
    searcher = space.searcher
    if searcher.enumerates:
        raise StudyError(
            f"--trials cannot extend {folder.root.name}: its searcher {searcher.name} runs "
            f"exactly {searcher.trials} configurations, which its space file decides; for more, "
            "change the file and start a study of another name"
        )
    if trials < searcher.trials:
        raise StudyError(f"--trials must be at least the study's {searcher.trials}, got {trials}")


def needs_work(found: Sequence[str]) -> bool:
    """Whether a finished study with these changes has something left to do."""
    return any(line.startswith((*_MORE, "budget")) for line in found)


def _is_allowed(path: str, then: Any, now: Any, enumerates: bool) -> bool:
    if path.startswith(_FREE):
        return True
    if path not in _MORE or (path == "searcher.trials" and enumerates):
        return False
    if isinstance(then, list) and isinstance(now, list):
        return set(then) <= set(now)
    return bool(now >= then)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """A space file by dotted path, with its values typed and its defaults written out."""
    found = {p: _typed(p, value) for p, value in (document.get("fixed") or {}).items()}
    for path, values in (document.get("scenarios") or {}).items():
        found[f"scenarios {path}"] = [_typed(path, value) for value in values]
    for path, domain in (document.get("tuned") or {}).items():
        found[f"tuned {path}"] = domain
    for key, value in document.items():
        if key in PARTS:
            value = {**PARTS[key]().model_dump(mode="json"), **_part(key, value or {})}
            found |= {f"{key}.{field}": given for field, given in value.items()}
        elif key not in ("fixed", "scenarios", "tuned"):
            found[key] = value
    for key in PARTS.keys() - document.keys():
        found |= {f"{key}.{f}": v for f, v in PARTS[key]().model_dump(mode="json").items()}
    return found


def _part(key: str, raw: dict[str, Any]) -> dict[str, Any]:
    """A part's values as they are typed, or as they stand if this version has other rules."""
    try:
        typed: dict[str, Any] = PARTS[key].model_validate(raw).model_dump(mode="json")
        return typed
    except ValidationError:
        return raw


def _unsaid(written: Mapping[str, str]) -> dict[str, Any]:
    """What a path means that a file leaves out, where that depends on no other choice."""
    found = {path: json.loads(text) for path, text in written.items()}
    return {path: values[0] for path, values in found.items() if len(values) == 1}


def _typed(path: str, value: Any) -> Any:
    return PARAMETERS[path].check(value)[0] if path in PARAMETERS else value


def _shown(value: Any) -> str:
    return text_of(value) if not isinstance(value, dict) else str(value)
