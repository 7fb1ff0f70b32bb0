"""The driver: starts or resumes a study and runs it to its end."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ltat_tune import provenance
from ltat_tune.backend import ray_session
from ltat_tune.backend.cluster import Cluster, joined
from ltat_tune.config.parameters import defaults
from ltat_tune.engine.images import open_images
from ltat_tune.engine.observers.live_view import LiveView
from ltat_tune.engine.observers.mlflow_pages import note, study_tags, view_of, winner_metrics
from ltat_tune.engine.tuner import drive
from ltat_tune.errors import LtatError, StudyError
from ltat_tune.export.publish import export_winners
from ltat_tune.files import write_text
from ltat_tune.planning.estimate import long_study_note
from ltat_tune.planning.gpu_sharing import measured_resources
from ltat_tune.planning.slots import (
    AUTO_ON_CPU,
    on_this_machine,
    trials_at_once,
    visible_gpus,
)
from ltat_tune.preflight.load import load_space
from ltat_tune.preflight.resume import (
    check_changes,
    check_extension,
    check_space_file,
    difference_lines,
    goes_on_searching,
    needs_work,
    refuse_other_defaults,
    space_differences,
)
from ltat_tune.results.collect import collect, shown_on_test
from ltat_tune.results.model import StudyResults, write_results
from ltat_tune.results.summary import as_text
from ltat_tune.space.space import Space
from ltat_tune.storage.cleanup import remove
from ltat_tune.storage.code_history import record_start
from ltat_tune.storage.folder import StudyFolder, check_space_left
from ltat_tune.storage.identity import own_name, replace_store, settle
from ltat_tune.tracking import Tracker
from ltat_tune.tracking.store import check_uri, lasting_uri

if TYPE_CHECKING:
    from ltat_tune.engine.work_queue import WorkQueue


_RESTART_WAIT_S = 60.0  # how long a resume waits for an MLflow server that restarts


@dataclass(frozen=True)
class StudyEnd:
    """How a start of a study ended; `reason` is why it stopped early."""

    results: StudyResults
    reason: str | None = None
    interrupted: bool = False


class StudyRun:
    """One study on disk. Make it with `create` or `open`, then `run`."""

    def __init__(self, space: Space, folder: StudyFolder) -> None:
        self.space, self.folder = space, folder
        self.owns_process = True  # if Ray does not end in time, a signal may end the process
        self.changes: list[str] = []  # found by `open`; recorded once the study is locked
        self.uri_origin = ""  # where the store's address came from, if not from the command line
        self._new = False  # `create` made it, and nothing has been trained

    @classmethod
    def create(
        cls,
        space: Space,
        out: Path,
        *,
        source: str,
        tracking_uri: str | None = None,
        overwrite: bool = False,
    ) -> StudyRun:
        """Make the folder of a new study.

        Args:
            space: what to run.
            out: folder of all studies.
            source: the space file's name, for the record.
            tracking_uri: the MLflow store; None is a SQLite file beside the study.
            overwrite: delete a study of this name first, unless it is being run; a smoke run
                always gives way to the next.

        Raises:
            StudyError: a study of this name exists, or the folder cannot be written.
        """
        if tracking_uri:
            check_uri(tracking_uri)
        folder = StudyFolder(out / space.name)
        if folder.facts.exists():
            if folder.is_running():
                with folder.locked():  # raises, and says by whom
                    pass
            if not overwrite and not (space.smoke and folder.read_facts().get("smoke")):
                state = "is finished" if folder.results.exists() else "is not finished"
                other = difference_lines(space_differences(folder.read_facts(), space.record))
                raise StudyError(
                    f"study {space.name} already exists in {out} and {state}; resume it with "
                    f"`{folder.resume_command}`, start another with `--set name=...`, or "
                    "delete it and start again with `--overwrite`"
                    + "".join(f"\n  {line}" for line in other)
                )
            remove(folder)
        facts = {
            "uid": uuid.uuid4().hex[:12],
            "name": space.name,
            "place": str(folder.root.resolve()),
            "space_file": source,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "tracking_uri": lasting_uri(tracking_uri, folder.root),
            "smoke": space.smoke,
            "space": space.record,
            "defaults": defaults(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "machine": provenance.machine(),
        }
        folder.create(space.record, facts)
        study = cls(space, folder)
        study._new = True
        return study

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        trials: int | None = None,
        top: int | None = None,
        budget: str | None = None,
        tracking_uri: str | None = None,
        check_machine: bool = True,
        cluster: bool = False,
    ) -> StudyRun:
        """Open a study that exists.

        Args:
            root: the study's folder.
            trials: extend the search to this many trials per scenario.
            top: confirm this many of them.
            budget: replaces the study's budget; it counts from the first start.
            tracking_uri: replaces the study's MLflow store, as long as nothing was trained.
            check_machine: check data and resources, as for a new study.
            cluster: trials run on a cluster's nodes, so this machine's resources are no limit.

        Raises:
            StudyError: no study, fewer `trials` or `top` than it has, or more of a grid or list.
            SpaceError: its space file no longer holds on this machine.
        """
        folder = StudyFolder.open(root)
        check_space_file(folder)
        check_extension(folder, trials, top)
        given = {"searcher.trials": trials, "confirm.top": top, "budget": budget}
        more = [f"{path}={value}" for path, value in given.items() if value is not None]
        # only its first start asks whether a tuned parameter without effect is allowed
        space = load_space(
            folder.space, overrides=more, check_machine=check_machine, allow_inert=True,
            cluster=cluster,
        )  # fmt: skip
        facts = folder.read_facts()
        refuse_other_defaults(folder, facts, space)
        if smoke := str(facts.get("smoke", "")):
            space = replace(space, smoke=smoke, notes=(smoke, *space.notes))
        study = cls(space, folder)
        study.changes = check_changes(folder, facts, space.record)
        if tracking_uri is not None:
            replace_store(folder, tracking_uri)
        return study

    def run(
        self,
        console: Console,
        *,
        quiet: bool = False,
        address: str | None = None,
        in_process: bool = False,
    ) -> StudyEnd:
        """Run what is left of the study, to its end or to an interruption.

        Args:
            console: where progress is shown.
            quiet: show no progress.
            address: of a Ray cluster whose nodes train; None starts Ray on this machine.
            in_process: run the tasks in this process, one after another, without Ray.

        Raises:
            StudyError: another driver runs the study, or MLflow, Ray, the disk or a node cannot be
                used.
            DataError: images are missing or cannot be read; a new study is then deleted.
        """
        with self.folder.locked(), contextlib.ExitStack() as stack:
            check_space_left(self.folder.root)
            moved = settle(self.folder)
            cluster, notes = self._join(address, stack) if address else (None, [])
            if cluster is None:
                resources = on_this_machine(self.space.resources)
                if resources is not self.space.resources:
                    notes = [*notes, AUTO_ON_CPU]
                    self.space = replace(self.space, resources=resources)
            warning = self._write_changes()
            slots = 1 if in_process else self._slots() if cluster is None else cluster.slots()
            view = LiveView(self.space, console, quiet=quiet, slots=slots or 1, plain=in_process)
            with view:
                for note in (*self.space.notes, *moved, *notes):
                    view.say(f"note: {note}")
                for line in self.changes:
                    view.say(f"note: changed since the last start: {line}")
                if warning:
                    view.say(f"warning: {warning}")
                self._open_images(view, cluster)
                if self.space.resources.measures_share and not in_process:
                    slots = self._measure_share(view, cluster)
                if self._new and (note := long_study_note(self.space, slots)):
                    view.say(f"note: {note}")
                return self._run(view, slots, cluster, in_process)

    def _join(self, address: str, stack: contextlib.ExitStack) -> tuple[Cluster, list[str]]:
        """Return the cluster, once every node is checked, and its notes; if refused, forget."""
        try:
            cluster = stack.enter_context(joined(address, self.space.resources, self.folder))
            return cluster, cluster.check()
        except LtatError:
            self._forget()
            raise

    def _forget(self) -> None:
        """Remove a new study that was refused, so that the same command can run again."""
        if self._new:
            shutil.rmtree(self.folder.root)

    def _write_changes(self) -> str:
        """Bring the study's files up to date. Return a warning if the code has changed."""
        facts = self.folder.read_facts()
        warning = record_start(
            facts,
            versions=provenance.versions(),
            commit=provenance.commit(),
            changes=self.changes,
        )
        if goes_on_searching(self.changes) and (seen := shown_on_test(self.space, self.folder)):
            facts.setdefault("searched_on", []).append(seen.as_data())
        if warning or self.changes or "space" not in facts:
            self.folder.write_facts({**facts, "space": self.space.record})
        if self.changes:
            self.folder.write_space(self.space.record)
        if needs_work(self.changes):
            self.folder.results.unlink(missing_ok=True)  # this start writes new ones
        return warning

    def _slots(self) -> int:
        resources = self.space.resources
        return trials_at_once(resources, visible_gpus(resources))

    def _measure_share(self, view: LiveView, cluster: Cluster | None) -> int:
        """Measure `resources.gpus_per_trial: auto`. Return how many trials run at once."""
        try:
            resources, note = measured_resources(self.space, self.folder)
        except LtatError:
            self._forget()
            raise
        view.say(f"note: {note}")
        self.space = replace(self.space, resources=resources)
        if cluster is not None:
            cluster.resources = resources
        slots = self._slots() if cluster is None else cluster.slots()
        view.resize(slots)
        return slots

    def _run(
        self, view: LiveView, slots: int, cluster: Cluster | None, in_process: bool
    ) -> StudyEnd:
        facts = self.folder.read_facts()
        tracker = Tracker(
            facts["tracking_uri"], own_name(self.folder), self.folder.root, facts["uid"],
            start_wait_s=0 if self._new else _RESTART_WAIT_S,
        )  # fmt: skip
        view.phase("preparing MLflow" if in_process else "preparing MLflow and Ray")
        tracker.start()
        try:
            own_ray = cluster is None and not in_process
            resources = self.space.resources
            gpus = visible_gpus(resources)
            own = ray_session.ray_session(slots, cpus=resources.cpus_per_trial, gpus=gpus)
            with own if own_ray else contextlib.nullcontext():
                tracker.wait_until_ready(self.uri_origin)
                tracker.describe(study_tags(self.space, facts), self.folder.described)
                tracker.show(view_of(self.space))
                self._new = False  # from here on, a resume continues it
                queue, interrupted = drive(
                    self.space, self.folder, tracker, view, slots=slots, cluster=cluster,
                    owns_process=self.owns_process, in_process=in_process,
                )  # fmt: skip
            return self._end(queue, interrupted, tracker, view)
        except BaseException as error:  # leave no run RUNNING and no store half made
            tracker.finish("interrupted", hurry=not isinstance(error, Exception))
            if isinstance(error, LtatError) and self._new:
                tracker.take_back()
                self._forget()
            raise

    def _open_images(self, view: LiveView, cluster: Cluster | None) -> None:
        """Raise DataError or StudyError if images cannot be used, and remove a new study."""
        view.phase("preparing the images")
        try:
            data = open_images(self.space, self.folder.cache, view.say)
            if cluster is not None:
                cluster.check_images(data)
        except LtatError:
            self._forget()
            raise

    def _end(
        self, queue: WorkQueue, interrupted: bool, tracker: Tracker, view: LiveView
    ) -> StudyEnd:
        view.phase("writing the results")
        results = collect(self.space, self.folder, queue.ledger)
        reason = queue.stop_reason
        finished = reason is None and not interrupted
        files: dict[str, str] = {}
        if finished:
            shutil.rmtree(self.folder.stems, ignore_errors=True)
            write_results(self.folder, results)
            files["summary.txt"] = as_text(results)
            write_text(self.folder.summary, files["summary.txt"])
            if any(scenario.winner_recipe for scenario in results.scenarios):
                export_winners(self.space, self.folder, tracker, view.say)
        state = "complete" if finished else "interrupted"
        metrics = winner_metrics(results)
        tracker.finish(state, note=note(results), files=files, metrics=metrics, hurry=interrupted)
        if finished and queue.unconfirmed:
            reason = "not confirmed or tested:\n  " + "\n  ".join(queue.unconfirmed)
        return StudyEnd(results, reason, interrupted or tracker.hurried)
