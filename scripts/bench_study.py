"""Overhead of a study: seconds per trial and per report, beside Ray Tune and Optuna as they come.

    python scripts/bench_study.py                   # about six minutes on 2 cores
    python scripts/bench_study.py --rounds 1 --trials 8
    python scripts/bench_study.py --grow 1000       # one study of ours, as it grows

The same trials everywhere: each imports torch and reports an accuracy so many times, and trains
nothing. Two run at once. In turns, each in a process of its own:

- ours: queue, ledger, rungs and MLflow (a SQLite file), workers reused;
- Ray Tune as its documentation shows it: OptunaSearch, ASHAScheduler, MLflowLoggerCallback on a
  SQLite file, with fresh and with reused workers;
- Optuna with a journal file and two processes that each take the next trial, no MLflow.

Printed: the seconds from the start of the search to its end, without starting and stopping Ray,
which is on a line of its own; medians over the rounds and ratios to ours of the same round.

`--grow` shows instead what a trial costs as a study gets longer: seconds, the driver's memory and
the journal at every eighth of the trials, then what opening the finished study again takes.
Proposals are random, because TPE's own cost grows with the trials; `--searcher tpe` includes it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltat_tune.versions import commit, machine, versions

SLOTS = 2
METRIC = "val/pgd20_balanced_acc"


def _score(rate: float, epoch: int) -> float:
    return 1 / (1 + rate) * epoch / (epoch + 2)


# -- ours ---------------------------------------------------------------------


def _report_only(config: dict[str, Any]) -> None:
    """In place of our worker's training: reports as it does, each epoch and the end."""
    import torch  # noqa: F401  # as every training does

    from ltat_tune.study import worker
    from ltat_tune.study.tasks import Task

    task = Task.from_json(config["task"])
    metrics: dict[str, float] = {}
    for epoch in range(1, task.epochs + 1):
        metrics = {METRIC: _score(task.config["optim.lr"], epoch), "train/loss": 1.0}
        worker._report(epoch=epoch, metrics=metrics, epoch_seconds=0.001, replayed=False)
    worker._report(
        event={"state": "complete", "epoch": task.epochs, "metrics": metrics, "seconds": 0.1}
    )


def _space(folder: Path, trials: int, reports: int, searcher: str) -> Any:
    import yaml

    from ltat_tune.study.space_file import load_space

    path = folder / "bench.yaml"
    path.write_text(
        yaml.safe_dump({
            "fixed": {"data.name": "digits", "data.val_per_class": 30, "optim.epochs": reports,
                      "optim.lr_schedule": "cosine"},
            "tuned": {"optim.lr": {"type": "float", "low": 0.01, "high": 0.3, "log": True}},
            "searcher": {"trials": trials, "name": searcher},
            "scheduler": {"grace_epochs": 1},
            "confirm": {"top": 0},
        })
    )  # fmt: skip
    return load_space(path, check_machine=False)


def run_ours(
    trials: int,
    reports: int,
    folder: Path,
    *,
    searcher: str = "tpe",
    on_trial: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """A study of ours whose worker reports only.

    Args:
        trials: of its one scenario.
        reports: of a trial at most.
        folder: where it lies.
        searcher: who proposes.
        on_trial: told of the journal whenever a trial ended.
    """
    from rich.console import Console

    from ltat_tune.study import ray_session

    ray_session.prepare_environment()  # before anything imports Ray
    from ltat_tune.study import driver
    from ltat_tune.study.folder import StudyFolder
    from ltat_tune.study.live import LiveView
    from ltat_tune.study.tasks import Outcome, Task
    from ltat_tune.tracking import Tracker

    class View(LiveView):
        def on_end(self, task: Task, outcome: Outcome) -> None:
            super().on_end(task, outcome)
            if on_trial is not None:
                on_trial(study.ledger)

    began = time.perf_counter()
    space = _space(folder, trials, reports, searcher)
    study = StudyFolder(folder / "study")
    study.root.mkdir()
    driver.run_task = _report_only  # type: ignore[assignment]
    console = Console(file=open(os.devnull, "w"), quiet=True)

    def start() -> float:
        tracker = Tracker(None, "bench", study.root, "bench")
        tracker.start()
        tracker.wait_until_ready()
        ready = time.perf_counter()
        with View(space, console, quiet=True, slots=SLOTS) as view:
            queue, _ = driver.drive(space, study, tracker, view, slots=SLOTS)
        tracker.finish("complete", note="", files={})
        assert queue.ledger.begun(space.scenarios[0].name) == trials
        return time.perf_counter() - ready

    with ray_session.ray_session(SLOTS):
        search = start()
        resumed = time.perf_counter()
        if on_trial is not None:
            start()
        resumed = time.perf_counter() - resumed
    return {"search": search, "all": time.perf_counter() - began, "again": resumed}


def grow(trials: int, reports: int, searcher: str) -> None:
    """Prints a row for every eighth of the trials."""
    every, ended = max(1, trials // 8), 0
    last = time.perf_counter()
    print(f"{trials} trials of at most {reports} reports, {SLOTS} at once, proposed by "
          f"{searcher}; {machine()}; commit {commit()}")  # fmt: skip
    print("| trials | a trial, s | driver, MiB | journal, KiB |\n|---|---|---|---|")

    def on_trial(journal: Path) -> None:
        nonlocal ended, last
        ended += 1
        if ended % every == 0:
            now = time.perf_counter()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            print(f"| {ended} | {(now - last) / every:.3f} | {mib:.0f} "
                  f"| {journal.stat().st_size / 1024:.0f} |", flush=True)  # fmt: skip
            last = now

    with tempfile.TemporaryDirectory() as folder:
        found = run_ours(trials, reports, Path(folder), searcher=searcher, on_trial=on_trial)
    print(f"all {found['search']:.1f} s; opened again, and nothing to do: {found['again']:.1f} s")


# -- Ray Tune ---------------------------------------------------------------------


def run_ray(trials: int, reports: int, folder: Path, *, reuse: bool) -> dict[str, float]:
    """Ray Tune with its own searcher, scheduler and MLflow callback."""
    began = time.perf_counter()
    import mlflow
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, Any]) -> None:
        import torch  # noqa: F401

        for epoch in range(1, reports + 1):
            tune.report({"score": _score(config["lr"], epoch), "loss": 1.0})

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("bench")
    ready = time.perf_counter()
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"lr": tune.loguniform(0.01, 0.3)},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=reports, grace_period=1),
            num_samples=trials,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "ray"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="bench")],
        ),
    ).fit()
    done = time.perf_counter()
    assert len(results) == trials
    ray.shutdown()
    return {"search": done - ready, "all": time.perf_counter() - began}


# -- Optuna ---------------------------------------------------------------------


def _optimize(journal: str, trials: int, reports: int) -> None:
    import optuna
    import torch  # noqa: F401

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 0.01, 0.3, log=True)
        for epoch in range(1, reports + 1):
            trial.report(_score(rate, epoch), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return _score(rate, reports)

    backend = optuna.storages.journal.JournalFileBackend(journal)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="bench",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    study.optimize(
        objective,
        callbacks=[optuna.study.MaxTrialsCallback(trials, states=None)],
    )


def run_optuna(trials: int, reports: int, folder: Path) -> dict[str, float]:
    """Optuna with a journal file and as many processes as slots."""
    import multiprocessing

    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    journal = str(folder / "journal.log")
    workers = [
        context.Process(target=_optimize, args=(journal, trials, reports)) for _ in range(SLOTS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    return {"search": took, "all": took}


RUNS = {
    "ours": run_ours,
    "Ray Tune": lambda *given: run_ray(*given, reuse=False),
    "Ray Tune, workers reused": lambda *given: run_ray(*given, reuse=True),
    "Optuna, 2 processes": run_optuna,
}


def _in_a_process(name: str, trials: int, reports: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--trials", str(trials),
               "--reports", str(reports)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--reports", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--one", choices=list(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--grow", type=int, metavar="TRIALS", help="one study of ours, alone")
    parser.add_argument("--searcher", default="random", help="of --grow")
    arguments = parser.parse_args()
    if arguments.grow:
        grow(arguments.grow, arguments.reports, arguments.searcher)
        return
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            found = RUNS[arguments.one](arguments.trials, arguments.reports, Path(folder))
        print(json.dumps(found))
        return
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for name in seconds:
            seconds[name].append(_in_a_process(name, arguments.trials, arguments.reports))
    print(f"{arguments.trials} trials of at most {arguments.reports} reports, {SLOTS} at once, "
          f"medians of {arguments.rounds} rounds; {machine()}; commit {commit()}")  # fmt: skip
    print("| | search, s | a trial, s | of ours [lowest, highest] | with start and end, s |")
    print("|---|---|---|---|---|")
    ours = [run["search"] for run in seconds.get("ours", [])]
    rows = []
    for name, runs in seconds.items():
        search = statistics.median(run["search"] for run in runs)
        whole = statistics.median(run["all"] for run in runs)
        ratios = sorted(run["search"] / own for run, own in zip(runs, ours, strict=False))
        shown = "" if not ratios else (
            f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        )  # fmt: skip
        print(
            f"| {name} | {search:.1f} | {search / arguments.trials:.2f} | {shown} | {whole:.1f} |"
        )
        rows.append({"name": name, "runs": runs, "ratios": ratios})
    if arguments.json:
        about = {"machine": machine(), "commit": commit(), "versions": versions()}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
