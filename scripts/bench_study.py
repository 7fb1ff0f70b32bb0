"""Overhead of a study: its start, a trial and a report, beside Ray Tune and Optuna as they come.

    python scripts/bench_study.py                   # about ten minutes on 2 cores
    python scripts/bench_study.py --rounds 1

The same trials everywhere: each imports torch and reports an accuracy so many times, and trains
nothing. Two run at once. In turns, each in a process of its own:

- ours: queue, ledger, rungs and MLflow (a SQLite file), workers reused;
- Ray Tune as its documentation shows it: OptunaSearch, ASHAScheduler, MLflowLoggerCallback on a
  SQLite file, with fresh and with reused workers;
- Optuna with a journal file and two processes that each take the next trial, no MLflow;
- the same, logging to MLflow as we do: a run for each trial, a metric for each report.

A round runs each three times: few trials, many trials, and few trials of many reports. What more
trials take longer, shared among them, is a trial's time (with its few reports); what more reports
take longer, a report's. Seconds are those of the search, without starting and stopping Ray, but
with the imports of the first worker. Printed: medians over the rounds, and ratios to ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ltat_tune.provenance import commit, machine, versions

SLOTS = 2
METRIC = "val/pgd20_balanced_acc"


def _score(rate: float, epoch: int) -> float:
    return 1 / (1 + rate) * epoch / (epoch + 2)


def _points(store: Path, metric: str) -> int:
    """Reports that reached MLflow."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        counted = connection.execute("SELECT count(*) FROM metrics WHERE key = ?", (metric,))
        return int(counted.fetchone()[0])


# -- ours ---------------------------------------------------------------------


def _report_only(task: Any, report: Any) -> None:
    """In place of our worker's training: reports as it does, each epoch and the end."""
    import torch  # noqa: F401  # as every training does

    metrics: dict[str, float] = {}
    for epoch in range(1, task.epochs + 1):
        metrics = {METRIC: _score(task.config["optim.lr"], epoch), "train/loss": 1.0}
        report({"epoch": epoch, "metrics": metrics, "epoch_seconds": 0.001, "replayed": False})
    report(
        {"event": {"state": "complete", "epoch": task.epochs, "metrics": metrics, "seconds": 0.1}}
    )


def run_ours(trials: int, reports: int, folder: Path) -> dict[str, float]:
    """A study of ours whose worker reports only."""
    import yaml
    from rich.console import Console

    from ltat_tune.backend import ray_session

    ray_session.prepare_environment()  # before anything imports Ray
    from ltat_tune.engine import tuner
    from ltat_tune.engine.observers.live_view import LiveView
    from ltat_tune.preflight.load import load_space
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.tracking import Tracker

    began = time.perf_counter()
    path = folder / "bench.yaml"
    path.write_text(
        yaml.safe_dump({
            "fixed": {"data.name": "digits", "data.val_per_class": 30, "optim.epochs": reports,
                      "optim.lr_schedule": "cosine"},
            "tuned": {"optim.lr": {"type": "float", "low": 0.01, "high": 0.3, "log": True}},
            "searcher": {"trials": trials},
            "scheduler": {"grace_epochs": 1},
            "confirm": {"top": 0},
        })
    )  # fmt: skip
    space = load_space(path, check_machine=False)
    study = StudyFolder(folder / "study")
    study.root.mkdir()
    console = Console(file=open(os.devnull, "w"), quiet=True)
    tracker = Tracker(None, "bench", study.root, "bench")
    tracker.start()
    with ray_session.ray_session(SLOTS), LiveView(space, console, quiet=True, slots=SLOTS) as view:
        tracker.wait_until_ready()
        ready = time.perf_counter()
        queue, _ = tuner.drive(space, study, tracker, view, slots=SLOTS, do_task=_report_only)
        tracker.finish("complete", note="", files={})
        done = time.perf_counter()
    assert queue.ledger.begun(space.scenarios[0].name) == trials
    took = {"search": done - ready, "all": time.perf_counter() - began}
    return {**took, "reports": _points(study.root / "mlflow.db", METRIC)}


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
    took = {"search": done - ready, "all": time.perf_counter() - began}
    return {**took, "reports": _points(folder / "mlflow.db", "score")}


# -- Optuna ---------------------------------------------------------------------


def _optimize(journal: str, trials: int, reports: int, uri: str | None) -> None:
    import optuna
    import torch  # noqa: F401

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 0.01, 0.3, log=True)
        for epoch in range(1, reports + 1):
            trial.report(_score(rate, epoch), epoch)
            if uri:
                mlflow.log_metrics({"score": _score(rate, epoch), "loss": 1.0}, step=epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return _score(rate, reports)

    def logged(trial: optuna.Trial) -> float:
        with mlflow.start_run(run_name=str(trial.number)):
            value = objective(trial)
            mlflow.log_params(trial.params)
            return value

    if uri:
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("bench")

    backend = optuna.storages.journal.JournalFileBackend(journal)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="bench",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    study.optimize(
        logged if uri else objective,
        callbacks=[optuna.study.MaxTrialsCallback(trials, states=None)],
    )


def run_optuna(trials: int, reports: int, folder: Path, *, uri: str | None) -> dict[str, float]:
    """Optuna with a journal file and as many processes as slots."""
    import multiprocessing

    if uri:
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("bench")  # two processes cannot make one store
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    journal = str(folder / "journal.log")
    workers = [
        context.Process(target=_optimize, args=(journal, trials, reports, uri))
        for _ in range(SLOTS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(journal)
    found = optuna.load_study(study_name="bench", storage=optuna.storages.JournalStorage(backend))
    told = sum(len(trial.intermediate_values) for trial in found.trials)
    return {"search": took, "all": took, "reports": told}


RUNS = {
    "ours": run_ours,
    "Ray Tune": lambda *given: run_ray(*given, reuse=False),
    "Ray Tune, workers reused": lambda *given: run_ray(*given, reuse=True),
    "Optuna, 2 processes": lambda *given: run_optuna(*given, uri=None),
    "Optuna, 2 processes, MLflow": lambda trials, reports, folder: run_optuna(
        trials, reports, folder, uri=f"sqlite:///{folder / 'mlflow.db'}"
    ),
}


def _in_a_process(name: str, trials: int, reports: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--few", str(trials),
               "--reports", str(reports), str(reports)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _parts(few: dict[str, float], many: dict[str, float], long: dict[str, float],
           *, trials: int) -> dict[str, float]:  # fmt: skip
    """Seconds of the shortest search, of each of so many trials more, and of each report more."""
    return {
        "few": few["search"],
        "trial": (many["search"] - few["search"]) / trials,
        "report": (long["search"] - few["search"]) / (long["reports"] - few["reports"]),
        "whole": few["all"],
    }


def _shown(values: list[float], scale: float, digits: int) -> str:
    low, middle, high = (scale * pick(values) for pick in (min, statistics.median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=8, help="trials")
    parser.add_argument("--many", type=int, default=100, help="trials; of Ray Tune's own, that "
                        "starts a process for each, a quarter")  # fmt: skip
    parser.add_argument("--reports", type=int, nargs=2, default=[5, 100], metavar="N",
                        help="of a trial at most, few and many")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--one", choices=list(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    short, long = arguments.reports
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            found = RUNS[arguments.one](arguments.few, short, Path(folder))
        print(json.dumps(found))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for name, parts in rounds.items():
            many = max(arguments.few + 1, arguments.many // (4 if name == "Ray Tune" else 1))
            shapes = [(arguments.few, short), (many, short), (arguments.few, long)]
            runs = [_in_a_process(name, trials, reports) for trials, reports in shapes]
            parts.append(_parts(*runs, trials=many - arguments.few))
            print(name, shapes, runs, file=sys.stderr, flush=True)
    print(f"trials of at most {short} reports, {SLOTS} at once; medians of {arguments.rounds} "
          f"rounds [lowest, highest]; {machine()}; commit {commit()}")  # fmt: skip
    print(f"| | {arguments.few} trials, s | the same with start and end, s | each more, ms "
          "| of ours | each report more, ms | of ours |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name, parts in rounds.items():
        cells = [_shown([part[key] for part in parts], 1, 1) for key in ("few", "whole")]
        for key in ("trial", "report"):
            cells.append(_shown([part[key] for part in parts], 1000, 1))
            mine = [part[key] for part in rounds.get("ours", [])]
            cells.append(
                f"{statistics.median(part[key] for part in parts) / statistics.median(mine):.2f}"
                if mine else ""
            )  # fmt: skip
        print("|", " | ".join([name, *cells]), "|")
    if arguments.json:
        about = {"machine": machine(), "commit": commit(), "versions": versions()}
        arguments.json.write_text(json.dumps({**about, "rounds": rounds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
