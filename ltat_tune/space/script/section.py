"""The section `script:` of a space file: a training script that runs as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltat_tune.config.fields import rule_sentence
from ltat_tune.config.parameters import PARAMETERS, unknown_parameter
from ltat_tune.config.scalars import shown
from ltat_tune.config.sections.script import OWN_PLACES, ScriptSpec, define_parameters
from ltat_tune.errors import SpaceError
from ltat_tune.yaml_lines import Key


def read_script(path: Path, document: dict[str, Any], lines: Mapping[Key, int]) -> None:
    """Make the parameters of a space file's script known, and record where the script lies.

    Args:
        path: the space file.
        document: its content; the script's folder and hash are written into it.
        lines: the line of each key.

    Raises:
        SpaceError: names every rule that the section breaks.
    """
    raw = document.get("script")
    if raw is None:
        return

    def fail(problems: Mapping[Key, str]) -> None:
        if problems:
            raise SpaceError([
                f"{path}:{_line(lines, ('script', *key))}: script{''.join(f'.{k}' for k in key)} "
                f"{text}" for key, text in problems.items()
            ])  # fmt: skip

    if not isinstance(raw, dict):
        fail({(): f"must be a mapping with command, metrics and checkpoint, got {shown(raw)}"})
    try:
        script = ScriptSpec.model_validate(raw)
    except ValidationError as error:
        problems: dict[Key, str] = {}
        for details in error.errors():
            place = tuple(str(part) for part in details["loc"] if isinstance(part, str | int))
            key = tuple(part for part in place if part not in ("str", "tuple[str, ...]"))
            known = ", ".join(ScriptSpec.model_fields)
            text = {"missing": "must be given", "extra_forbidden": f"is unknown; choose from: "
                    f"{known}"}.get(details["type"]) or rule_sentence(details)  # fmt: skip
            problems.setdefault(key, text)
        fail(problems)
        return
    folder = Path(script.folder).expanduser()
    folder = folder if folder.is_absolute() else (path.parent / folder).absolute()
    if not folder.is_dir():
        fail({("folder",): f"must be the folder of the script, got {folder}, which is missing"})
    define_parameters(script)
    known_names = {*PARAMETERS, *OWN_PLACES}
    strange = sorted(name for name in script.placeholders if name not in known_names)
    if strange:
        wrong = "; ".join(unknown_parameter(name) for name in strange)
        fail({("command",): f"must name parameters in its braces: {wrong}"})
    missing = [name for name in script.templates if not (folder / name).is_file()]
    if missing:
        fail({("templates",): f"must be files in {folder}, got {', '.join(missing)}"})
    from ltat_tune.training.script.process import hash_of  # the import is slow

    settled = script.model_copy(update={"folder": str(folder)})
    now = hash_of(settled)
    if script.sha256 and script.sha256 != now:
        fail({("sha256",): f"must be that of the script's files in {folder}, which have changed "
              f"since the study began ({script.sha256}, now {now}); restore them, or start "
              "another study"})  # fmt: skip
    document["script"] = {**raw, "folder": str(folder), "sha256": now}


def with_script(document: Mapping[str, Any]) -> Any:
    """Return `fixed` with the script's definition, as the parameters of a configuration."""
    fixed = document.get("fixed", {})
    if not isinstance(document.get("script"), dict) or not isinstance(fixed, dict | type(None)):
        return fixed
    return {**(fixed or {}), "script.definition": document["script"]}


def _line(lines: Mapping[Key, int], key: Key) -> int:
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)
