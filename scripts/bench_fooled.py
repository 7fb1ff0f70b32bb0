"""How often a search chooses a planted fraud, with and without the second opinion.

    python scripts/bench_fooled.py             # 20 studies of each searcher on the recorded tables
    python scripts/bench_fooled.py --record    # train all again, some minutes on a core
    python scripts/bench_fooled.py --honest 3  # false alarms: sound methods, seeds of each

Every configuration of the spaces under scripts/problems was trained once, with its validation
score, its second opinion, and the truth: what PGD-20, CW-20 and 500 queries of Square leave of the
test images. The studies are replayed over these tables; searchers, ledger and ranking are real.
Planted in `fooled`: logits x 1000, RoBal measured at scale 1, and images that the network rounds.
Planted in `overfitted`: FGSM at so large a radius that the network learns to mislead it. There the
score is accuracy under FGSM, and under PGD-20 for comparison.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from ltat_tune.attacks.square import square
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.evaluation.second_opinion import second_opinion
from ltat_tune.planning.cost import epoch_passes
from ltat_tune.preflight.load import load_space
from ltat_tune.provenance import machine
from ltat_tune.results.selection import ranking
from ltat_tune.search.rungs import place_rungs
from ltat_tune.seeding import prepare_process
from ltat_tune.space.enumeration import all_points
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from ltat_tune.storage.training_files import SecondOpinion
from ltat_tune.training.evaluation import MeasuredPart, correct_answers
from ltat_tune.training.metrics import Accuracy
from ltat_tune.training.trainer import Trainer

PROBLEMS = Path(__file__).parent / "problems"
TABLE = Path(__file__).parent.parent / "tests" / "data" / "fooled.json"
SEARCHERS = ("predict", "tpe")
Row = dict[str, Any]


def planted(params: Mapping[str, Any]) -> str:
    """Return the fraud that a configuration is, or an empty text."""
    if params.get("model.name") == "quantised_cnn":
        return "quantised"
    if params.get("model.name") == "loud_cnn":
        return "logits x 1000"
    if params.get("model.head_scale") == 1:
        return "RoBal at scale 1"
    if "model.name" not in params and params.get("attack.steps") == 1:
        return "FGSM, overfitted"
    return ""


# -- recording ------------------------------------------------------------------------------------


def record() -> dict[str, Any]:
    """Train every configuration of both problems, and return the tables."""
    prepare_process(1)
    tables: dict[str, Any] = {}
    for name, attacks in {"fooled": ("pgd20",), "overfitted": ("fgsm", "pgd20")}.items():
        space = _space(name)
        rows: dict[str, list[Row]] = {attack: [] for attack in attacks}
        for params in all_points(space.tuned) or []:
            for attack, row in recorded(space, params, attacks).items():
                rows[attack].append(row)
                print(name, attack, json.dumps(row), flush=True)
        for attack, recordings in rows.items():
            own = attack == space.config(space.scenarios[0], {}).evaluation.val_attack
            title = name if own else f"{name}, judged by {attack}"
            tables[title] = {"problem": name, "attack": attack, "rows": recordings}
    return tables


def recorded(space: Space, params: Mapping[str, Any], attacks: tuple[str, ...]) -> dict[str, Row]:
    """Return the row of one configuration, for each attack that validates it."""
    config = space.config(space.scenarios[0], params)
    trainer = Trainer(config)
    result, images = trainer.fit(), len(trainer.splits.train)
    val, classes = trainer.splits.val, len(trainer.splits.classes)
    test = MeasuredPart.of("test", trainer.splits.test(), None)
    answers = [correct_answers(result.model, test, attack, config) for attack in ("pgd20", "cw20")]
    worst = answers[0] & answers[1]
    left = test.data.at(worst.nonzero().squeeze(1))
    adv_images = square(
        result.model, left.images, left.targets, eps=config.measured_eps, seed=0, queries=500,
        fit_schedule=True,
    )  # fmt: skip
    with torch.no_grad():
        worst[worst.clone()] = result.model(adv_images).argmax(dim=1) == left.targets
    truth = Accuracy.count(worst, test.data.targets, classes).metrics("test", trainer.groups)
    rows = {}
    for attack in attacks:
        own = config.replace({"evaluation.val_attack": attack})
        right = correct_answers(result.model, MeasuredPart.of("val", val, None), attack, own)
        accuracy = Accuracy.count(right, val.targets, classes)
        opinion = second_opinion(result.model, val, right, own, images)
        rows[attack] = {
            "params": dict(params),
            "score": round(accuracy.metrics("val", trainer.groups)["val_balanced_acc"], 4),
            "truth": round(truth["test_balanced_acc"], 4),
            "passes": round(config.optim.epochs * epoch_passes(config, images)),
            "opinion": None if opinion is None else opinion.as_data(),
        }
    return rows


# -- replaying ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replayed:
    """What a study chose: a row, with what its trainings and its second opinions took."""

    chosen: Row
    doubted: int
    training: float  # passes
    opinions: float


def replayed(table: Mapping[str, Any], searcher: str, seed: int, *, opinion: bool) -> Replayed:
    """Run a study whose trainings are read from a table."""
    from ltat_tune.engine.scenario_search import ScenarioSearch

    space = _space(table["problem"], searcher, seed)
    metric = f"val/{table['attack']}_balanced_acc"
    objective = space.objective.model_copy(update={"metric": metric})
    space = replace(space, objective=objective)
    rows = {_key(row["params"]): row for row in table["rows"]}
    scenario = space.scenarios[0].name
    taken = []
    with tempfile.TemporaryDirectory() as name:
        folder = StudyFolder(Path(name))
        ledger = Ledger(Path(name) / "ledger.journal", space)
        search = ScenarioSearch(space, folder, ledger, scenario, place_rungs(space), device="cpu")
        while (task := search.next_task()) is not None:
            params = ledger.row(scenario, task.number).params
            row = rows[_key(params)]
            taken.append(row)
            search.finish(task, _outcome(row, metric, task.epochs, opinion))
        chosen = rows[_key(ranking(ledger, scenario)[0].params)]
    opinions = [_opinion(row) for row in taken]
    return Replayed(
        chosen, sum(bool(o.reason) for o in opinions if o), sum(row["passes"] for row in taken),
        sum(o.passes for o in opinions if o),
    )  # fmt: skip


def _outcome(row: Row, metric: str, epochs: int, with_opinion: bool) -> Outcome:
    """Return the end of a training, as `engine.worker` reports it."""
    metrics, opinion = {metric: float(row["score"])}, _opinion(row)
    if opinion is None or not opinion.reason or not with_opinion:
        return Outcome("complete", epochs, "", metrics)
    left = opinion.corrected(metrics)
    return Outcome("complete", epochs, opinion.reason, left, claimed=metrics)


def _opinion(row: Row) -> SecondOpinion | None:
    return None if row["opinion"] is None else SecondOpinion.model_validate(row["opinion"])


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _space(name: str, searcher: str = "predict", seed: int = 0) -> Space:
    space = load_space(PROBLEMS / f"{name}.yaml", check_machine=False, allow_inert=True)
    spec = space.searcher.model_copy(update={"name": searcher, "seed": seed})
    return replace(space, searcher=spec)


def show(tables: Mapping[str, Any], seeds: int) -> None:
    """Print a line for each table, searcher and setting."""
    print(f"{seeds} studies each; {machine()}")
    print("| table | searcher | second opinion | chose a fraud | which | claims, % | is, % "
          "| more passes, % |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for title, table in tables.items():
        for searcher in SEARCHERS:
            for opinion in (False, True):
                done = [replayed(table, searcher, s, opinion=opinion) for s in range(seeds)]
                frauds = [planted(one.chosen["params"]) for one in done]
                which = ", ".join(f"{frauds.count(f)} {f}" for f in sorted({*frauds}) if f)
                claims = sum(one.chosen["score"] for one in done) / seeds
                truth = sum(one.chosen["truth"] for one in done) / seeds
                more = sum(o.opinions for o in done) / sum(o.training for o in done)
                print(f"| {title} | {searcher} | {'yes' if opinion else 'no'} "
                      f"| {sum(map(bool, frauds))} of {seeds} | {which or '-'} "
                      f"| {100 * claims:.1f} | {100 * truth:.1f} "
                      f"| {100 * more * opinion:.1f} |", flush=True)  # fmt: skip


# -- false alarms ---------------------------------------------------------------------------------

RECIPE = {
    "data.name": "digits", "data.val_per_class": 30, "model.width": 8,
    "model.stem": "space_to_depth", "attack.eps": 0.1, "attack.step_size": 0.025,
    "optim.epochs": 16, "optim.batch_size": 64, "optim.lr_schedule": "cosine",
    "evaluation.every_epochs": 16,
}  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "PGD-AT": {}, "PGD-AT, balanced softmax": {"loss.name": "balanced_softmax"},
    "PGD-AT, focal": {"loss.name": "focal"},
    "PGD-AT, lr 0.02": {"optim.lr": 0.02}, "PGD-AT, lr 0.4": {"optim.lr": 0.4},
    "FGSM": {"attack.steps": 1, "attack.step_size": 0.1},
    "SRAT": {"method.name": "srat"}, "REAT": {"method.name": "reat"},
    "RoBal at scale 10": {"method.name": "robal"}, "TRADES": {"method.name": "trades"},
    "MART": {"method.name": "mart"}, "AWP": {"method.awp_gamma": 0.01},
    "TAET": {"method.name": "taet"}, "ETF penalty": {"loss.etf_weight": 1.0},
    "natural": {"method.name": "natural"}, "DAFA": {"method.name": "dafa"},
    "CFA": {"method.name": "cfa", "method.base": "pgd_at"}, "WAT": {"method.name": "wat"},
}  # fmt: skip


def false_alarms(seeds: int) -> None:
    """Train sound methods, and print which of them are doubted."""
    prepare_process(1)
    doubted = total = 0
    for name, values in SOUND.items():
        for ratio in (10, 50):
            line = []
            for seed in range(seeds):
                config = TrialConfig.from_flat(
                    {**RECIPE, **values, "data.imbalance_ratio": ratio, "seeds.seed": seed}
                )
                trainer = Trainer(config)
                result = trainer.fit()
                opinion = second_opinion(
                    result.model, trainer.splits.val, result.answers, config,
                    len(trainer.splits.train),
                )  # fmt: skip
                total += 1
                if opinion is not None:
                    doubted += bool(opinion.reason)
                    mark = " DOUBTED" if opinion.reason else ""
                    gap = 100 * (opinion.gap or 0.0)
                    line.append(f"{opinion.broken}/{opinion.images} gap {gap:.1f} "
                                f"pull {opinion.pull:.1f}{mark}")  # fmt: skip
            print(f"{name}, imbalance ratio {ratio}: {'; '.join(line)}", flush=True)
    print(f"{doubted} of {total} sound trainings doubted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--honest", type=int, metavar="SEEDS", help="measure false alarms")
    parser.add_argument("--seeds", type=int, default=20, help="studies of each searcher")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if arguments.honest:
        false_alarms(arguments.honest)
        return
    if arguments.record:
        TABLE.write_text(json.dumps(record(), indent=1) + "\n")
    show(json.loads(TABLE.read_text()), arguments.seeds)


if __name__ == "__main__":
    main()
