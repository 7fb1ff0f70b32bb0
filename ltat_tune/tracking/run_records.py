"""What MLflow has of a study's runs, for a study that lost files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ltat_tune.errors import StudyError
from ltat_tune.tracking.store import connect, find_experiment, public_uri, reason, runs_with


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        params: parameter -> value, as text.
        tags: its tags, `state` and `reason` among them.
        started: when it began.
        ended: when it ended, if it did.
    """

    params: Mapping[str, str]
    tags: Mapping[str, str]
    started: datetime
    ended: datetime | None


def recorded_runs(uri: str, name: str, uid: str = "") -> dict[str, dict[str, RunRecord]]:
    """Return the runs in a study's experiment, by the study's id and the run's key.

    Args:
        uri: of the store.
        name: of the experiment.
        uid: id of the study; empty if it is not known, which finds every study of this name.

    Raises:
        StudyError: the store does not answer, or is damaged.
    """
    found: dict[str, dict[str, RunRecord]] = {}
    try:
        client = connect(uri)
        named = client.get_experiment_by_name(name)
        experiment = find_experiment(client, name, uid) if uid else named
        text = f"tags.`ltat.study` = '{uid}'" if uid else ""
        for run in runs_with(client, experiment, text):
            tags = run.data.tags
            if "ltat.study" not in tags or "ltat.key" not in tags:
                continue  # somebody else's, in the same experiment
            record = RunRecord(
                run.data.params, tags, _moment(run.info.start_time),
                _moment(run.info.end_time) if run.info.end_time else None,
            )  # fmt: skip
            found.setdefault(tags["ltat.study"], {})[tags["ltat.key"]] = record
    except Exception as error:  # of any store or driver; not chained, as it may hold a password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    return found


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
