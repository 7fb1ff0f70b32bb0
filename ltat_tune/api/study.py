"""Runs studies from notebooks and scripts, with the same engine as the command line.

    from ltat_tune import Study

    study = Study("search_spaces/quickstart.yaml", overrides={"searcher.trials": 6})
    study.run()
    study.best()[0].config

Nothing here prints unless asked to. A study restores everything that it changes in its process
(`process_kept`). Errors are those of `ltat_tune.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ltat_tune.api.best import Best, best_of_scenario
from ltat_tune.api.isolation import process_kept
from ltat_tune.config.notebook import ShownList, html_table, text_lines
from ltat_tune.errors import SpaceError, StudyError
from ltat_tune.storage.folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd

    from ltat_tune.api.plots import Plots
    from ltat_tune.engine.study import StudyRun as Engine
    from ltat_tune.results.model import StudyResults
    from ltat_tune.storage.trials import TrialRow


class Study:
    """A study on disk: `Study("search_spaces/srat.yaml").run()`.

    Args:
        space: the space file. It is checked now; nothing is written before `run`.
        out: folder of all studies.
        overrides: values by dotted path that replace the file's, as `--set` does.
        tracking_uri: the MLflow store; None is a SQLite file in the study's folder.
        overwrite: delete a study of this name first.
        allow_inert: run even if a tuned parameter has no effect.
        smoke: only test that the file runs.

    Raises:
        SpaceError: lists every problem of the file and the overrides.
    """

    def __init__(
        self,
        space: str | Path,
        *,
        out: str | Path = "studies",
        overrides: Mapping[str, Any] | None = None,
        tracking_uri: str | None = None,
        overwrite: bool = False,
        allow_inert: bool = False,
        smoke: bool = False,
    ) -> None:
        more = _assignments(overrides or {})
        with process_kept():
            from ltat_tune.preflight.load import load_space

            try:
                self._space = load_space(
                    space, overrides=more, allow_inert=allow_inert, smoke=smoke
                )
            except SpaceError as error:  # name the argument, not the option
                problems = [text.replace("--set ", "overrides ") for text in error.problems]
                raise SpaceError(problems) from error
        self._folder = StudyFolder(Path(out) / self._space.name)
        self._source, self._tracking_uri = str(space), tracking_uri
        self._overwrite, self._is_new = overwrite, True

    @classmethod
    def open(cls, name: str, *, out: str | Path = "studies") -> Study:
        """Open a study that was started before, finished or not.

        Raises:
            StudyError: the study does not exist, or this version cannot continue it.
            SpaceError: its space file is no longer valid.
        """
        with process_kept():
            from ltat_tune.engine.study import StudyRun as Engine

            engine = Engine.open(Path(out) / name, check_machine=False)
        study = cls.__new__(cls)
        study._space, study._folder, study._is_new = engine.space, engine.folder, False
        return study

    def __repr__(self) -> str:
        rows = {f"{row[0]} {row[1]}": " ".join(row[2:]) for row in self._winners()}
        return text_lines(f"Study({str(self.folder)!r}), {self._state()}", rows)

    def _repr_html_(self) -> str:
        head = ["scenario", "winner", "metric", "test, %", "baseline, %"]
        caption = f"{self.name}, {self._state()}, in {self.folder}"
        return html_table(caption, head, self._winners())

    def _state(self) -> str:
        if not self._folder.facts.exists():
            return "not started"
        return "finished" if self._folder.results.exists() else "not finished"

    def _winners(self) -> list[list[str]]:
        """Return a row for each scenario: name, winner, metric, its score, the baseline's."""
        from ltat_tune.results.wording import mean_std

        try:
            results = self._read_results()
        except StudyError:
            return []
        rows = []
        for scenario in results.scenarios:
            metric, winner, rival = results.verdict_metric, scenario.winner, scenario.rival
            if winner is not None:
                base = "" if rival is None else mean_std(rival.scores("test", metric))
                score = mean_std(winner.scores("test", metric))
                rows.append([scenario.title, f"t{winner.number:04d}", metric, score, base])
        return rows

    @property
    def name(self) -> str:
        """The study's name, as under `name:` in the space file."""
        return self._space.name

    @property
    def folder(self) -> Path:
        """The folder that holds everything of the study."""
        return self._folder.root

    def run(
        self, *, quiet: bool = True, address: str | None = None, in_process: bool = False
    ) -> Study:
        """Run the study to its end; continue one that was opened or stopped.

        Ctrl-C, or a notebook's interrupt, ends the run cleanly and raises KeyboardInterrupt. A
        second `run` continues. The method restores everything that it changes in the process.

        Args:
            quiet: show nothing; False shows the progress on stderr as the command does.
            address: of a Ray cluster whose nodes train; None starts Ray on this machine.
            in_process: run one task after another in this process, without Ray; breakpoints work.

        Raises:
            ValueError: both `address` and `in_process` are given.
            StudyError: the study already exists and was not opened, another process runs it, or
                it stopped early; the message says why.
            DataError: images are missing or cannot be read.
        """

        def engine() -> Engine:
            from ltat_tune.engine.study import StudyRun as Engine

            if self._is_new:
                return self._create()
            return Engine.open(self.folder, cluster=address is not None)

        return self._run(engine, quiet, address, in_process)

    def resume(
        self,
        *,
        trials: int | None = None,
        confirm: int | None = None,
        budget: str | None = None,
        quiet: bool = True,
        address: str | None = None,
        in_process: bool = False,
    ) -> Study:
        """Continue a study that exists, and extend it if asked.

        Args:
            trials: extend the search to this many trials per scenario.
            confirm: confirm this many of them.
            budget: the study's limit from its first start on, such as `6h`.
            quiet: as for `run`.
            address: as for `run`.
            in_process: as for `run`.

        Raises:
            ValueError: as for `run`.
            StudyError: as for `run`; the study does not exist, or `trials` is fewer than it has.
        """

        def engine() -> Engine:
            from ltat_tune.engine.study import StudyRun as Engine

            return Engine.open(
                self.folder, trials=trials, top=confirm, budget=budget,
                cluster=address is not None,
            )  # fmt: skip

        return self._run(engine, quiet, address, in_process)

    def _create(self) -> Engine:
        from ltat_tune.engine.study import StudyRun as Engine

        if self._folder.facts.exists() and not (self._overwrite or self._space.smoke):
            raise StudyError(
                f"study {self.name} already exists in {self.folder.parent}; continue it with "
                f'Study.open("{self.name}", out="{self.folder.parent}").run(), start another with '
                'overrides={"name": ...}, or delete it with overwrite=True'
            )
        return Engine.create(
            self._space, self.folder.parent, source=self._source,
            tracking_uri=self._tracking_uri, overwrite=self._overwrite,
        )  # fmt: skip

    def _run(
        self, make_engine: Callable[[], Engine], quiet: bool, address: str | None, in_process: bool
    ) -> Study:
        if address is not None and in_process:
            raise ValueError(
                f"address trains on a Ray cluster and in_process uses no Ray, got {address!r} and "
                "True; give one of them"
            )
        with process_kept():
            from rich.console import Console  # draws from `random`

            engine = make_engine()
            self._space, self._is_new = engine.space, False
            console = Console(stderr=True, highlight=False, force_jupyter=False)
            engine.owns_process = False
            end = engine.run(console, quiet=quiet, address=address, in_process=in_process)
        if end.interrupted:
            raise KeyboardInterrupt
        if end.reason is not None:
            raise StudyError(f"{end.reason}\ncontinue with: study.resume()")
        return self

    @property
    def results(self) -> dict[str, Any]:
        """The results, as `ltat-tune compare --format json` prints them.

        Raises:
            StudyError: the study has not finished.
        """
        return self._read_results().as_data()

    def _read_results(self) -> StudyResults:
        from ltat_tune.results.model import read_results

        results = read_results(self._folder) if self._folder.facts.exists() else None
        if results is None:
            raise StudyError(f"{self.name} has no results yet; finish it with run() or resume()")
        return results

    def best(self) -> list[Best]:
        """Return the winner of every scenario that has one, in the order of the space file.

        Raises:
            StudyError: as for `results`.
        """
        return ShownList(
            best_of_scenario(self._space, self._folder, scenario.name, scenario.winner)
            for scenario in self._read_results().scenarios
            if scenario.winner is not None
        )

    @property
    def trials(self) -> list[TrialRow]:
        """Every trial, also of a study that still runs.

        Raises:
            StudyError: the ledger cannot be read.
        """
        with process_kept():
            from ltat_tune.storage.trials import read_trials

            return read_trials(self._folder)

    @property
    def plot(self) -> Plots:
        """Figures of the trials, such as `study.plot.slice()`."""
        from ltat_tune.api.plots import Plots

        return Plots(self._space, self._folder)

    def trials_dataframe(self) -> pd.DataFrame:
        """Return a row for every trial, with a column for each proposed parameter's dotted path.

        Raises:
            StudyError: as for `trials`.
        """
        import pandas as pd

        fixed = ("scenario", "number", "state", "score", "epochs", "seconds", "cause")
        rows = [{**{name: getattr(t, name) for name in fixed}, **t.params} for t in self.trials]
        paths = [path for path in self._space.tuned if any(path in row for row in rows)]
        return pd.DataFrame(rows, columns=[*fixed, *paths])


def _assignments(overrides: Mapping[str, Any]) -> list[str]:
    """Return overrides as `--set` takes them, in YAML, so that each value keeps its type."""
    return [
        f"{path}={yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6)}"
        for path, value in overrides.items()
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
