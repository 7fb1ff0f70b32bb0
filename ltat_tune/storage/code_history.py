"""Keeps which code ran a study, start by start, in the study's facts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def code_history(facts: Mapping[str, Any]) -> str:
    """Return the code that a study was run with: `0.1.0 (4f2a), then 0.2.0 (91bc)`."""
    codes = [str(entry["code"]) for entry in facts.get("history", [])] or [_code(facts)]
    return ", then ".join(code for code, _ in itertools.groupby(codes))


def record_start(
    facts: dict[str, Any], *, versions: Mapping[str, str], commit: str, changes: Sequence[str]
) -> str:
    """Note in a study's facts that this code continues it, and what changed.

    Returns:
        A warning if the code differs from the code before, else an empty text.
    """
    before = code_history(facts).rpartition(", then ")[2]
    now = _code({"versions": versions, "commit": commit})
    if before == now and not changes:
        return ""
    entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "code": now}
    if changes:
        entry["changes"] = list(changes)  # type: ignore[assignment]
    facts.setdefault("history", [{"at": facts["created"], "code": before}]).append(entry)
    if before == now:
        return ""
    return (
        f"the code has changed since this study last ran, from ltat-tune {before} to {now}: its "
        "trials may not be comparable (CHANGELOG.md, Numbers); study.json and MLflow record this"
    )


def _code(facts: Mapping[str, Any]) -> str:
    commit = facts.get("commit") or "no commit"
    return f"{facts['versions'].get('ltat-tune', 'unknown')} ({commit})"
