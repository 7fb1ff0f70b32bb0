"""Writes what MLflow's pages show of a study: its view, description, data and winners."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from ltat_tune import provenance
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import reached_ratio
from ltat_tune.presentation.text_tables import markdown_table
from ltat_tune.results.model import ScenarioResults, StudyResults
from ltat_tune.results.verdict import sentences
from ltat_tune.results.wording import SPREAD, masking_line, mean_std, trial_ends
from ltat_tune.space.space import Space, text_of
from ltat_tune.storage.code_history import code_history
from ltat_tune.storage.training_files import CompleteTraining
from ltat_tune.tracking import RunImages, View
from ltat_tune.tracking.experiment_view import final_metric

_MOST = 8000  # the most characters that a run's tag holds


def view_of(space: Space) -> View:
    """Return the columns, charts and description of the study's experiment."""
    robust = [a for a in space.confirm.attacks if a != "clean"]
    axes = list(dict.fromkeys(path for s in space.scenarios for path in s.values))
    columns = [f"test/{attack}_balanced_acc" for attack in ("clean", *robust)]
    smoke = "**Smoke run: its numbers mean nothing.**\n\n" if space.smoke else ""
    on_test = (
        "**selected_on_test: the validation images are the test images.**\n\n"
        if space.selected_on_test else ""
    )  # fmt: skip
    scenarios = "\n".join(f"- `{s.name}`: {s.title}" for s in space.scenarios)
    tuned = "\n".join(f"- `{path}`: {domain}" for path, domain in _ranges(space).items())
    return View(
        objective=space.objective.metric,
        tuned=list(space.tuned),
        conditional=frozenset(path for path, domain in space.tuned.items() if domain.when),
        scenarios=axes,
        robust=columns if space.confirm.top else [],
        several=len(space.scenarios) > 1,
        about=(
            f"{smoke}{on_test}ltat-tune study `{space.name}`: adversarial training on long-tailed "
            f"data, judged by `{space.objective.metric}` (a fraction, 1 is best).\n\n"
            f"Scenarios, each with a search and a winner of its own:\n\n{scenarios}\n\n"
            f"Tuned parameters:\n\n{tuned}\n\n"
            "One run is the study itself; its description shows the results. Runs with "
            "`kind: trial` belong to the search. Runs with `kind: confirmation` train its best "
            "configurations again with several seeds and attack them on the test images; they "
            f"stand under their trial. `{final_metric(space.objective.metric)}` is the objective "
            "of what trained to its end. Runs with `state: pruned` were stopped early; the tag "
            "`reason` says why."
        ),
    )


def _ranges(space: Space) -> dict[str, str]:
    ranges = {}
    for path, domain in space.tuned.items():
        if domain.kind == "categorical":
            ranges[path] = " | ".join(map(str, domain.choices))
        else:
            ranges[path] = f"{domain.low:g} to {domain.high:g}" + (", log" if domain.log else "")
    return ranges


def note(results: StudyResults) -> str:
    """Return the study in Markdown: the verdict, then a table for each scenario that fits."""
    text = "\n".join(f"- **{sentence}**" for sentence in sentences(results)) or "No winner yet."
    if results.selected_on_test:
        text = "**selected_on_test: selected on the test images, so optimistic.**\n\n" + text
    for scenario in results.scenarios:
        part = _scenario(results, scenario)
        if len(text) + len(part) > _MOST - 100:
            return text + "\n\nSee `ltat-tune compare` or the artifact summary.txt for the rest."
        text += part
    return text


def winner_metrics(results: StudyResults) -> dict[str, float]:
    """Return the winners' metrics, means over seeds, for the study's own run.

    With several scenarios, each name begins with its scenario: `imbalance_ratio_50/test/aa_acc`.
    """
    several, metrics = len(results.scenarios) > 1, {}
    for scenario in results.scenarios:
        if scenario.winner is not None:
            place = f"{scenario.name}/" if several else ""
            for name, values in {**scenario.winner.val, **scenario.winner.test}.items():
                if values:
                    metrics[f"{place}{name}"] = fmean(values)
    return metrics


def _scenario(results: StudyResults, scenario: ScenarioResults) -> str:
    winner, rival, epochs = scenario.winner, scenario.rival, scenario.epochs
    effort = f"{trial_ends(scenario.trials)}; {epochs.saved} of {epochs.planned} epochs saved."
    if winner is None:
        return f"\n\n### {scenario.title}\n\nNo configuration was confirmed. {effort}"
    columns = {f"winner t{winner.number:04d}": winner}
    if rival is not None:
        columns[f"baseline t{rival.number:04d}"] = rival
    metrics = [("val", results.objective)]
    for attack in results.confirm.attacks:
        metrics += [("test", f"test/{attack}_{group}acc") for group in ("balanced_", "tail_")]
    rows = [
        [metric, *(mean_std(column.scores(split, metric)) for column in columns.values())]
        for split, metric in metrics
    ]
    rows += [
        [f"`{path}`", *(text_of(column.params.get(path, "")) for column in columns.values())]
        for path in winner.params
    ]
    title = f"accuracy in %, mean over seeds {', '.join(map(str, winner.seeds))}"
    table = markdown_table([[title, *columns], *rows])
    table += f"\n\n{SPREAD}" if len(winner.seeds) > 1 else ""
    report = scenario.sentinel
    masked = f"\n\nGradient masking: {masking_line(report)}." if report is not None else ""
    return f"\n\n### {scenario.title}\n\n{table}\n\n{effort}{masked}"


def images_of(config: TrialConfig, trained: CompleteTraining) -> RunImages:
    """Return the images of a training, with their class counts, as MLflow records them."""
    data, counts = config.data, trained.samples_per_class
    ratio = reached_ratio(counts)
    profile = {
        "profile": data.profile, "imbalance_ratio": round(ratio, 4), "num_rows": sum(counts),
        "samples_per_class": counts, "classes": trained.classes,
        "image_shape": trained.image_shape, "validation": data.val_source,
        "val_per_class": data.val_per_class,
    }  # fmt: skip
    return RunImages(
        f"{data.name} {data.profile} {ratio:.4g}", trained.subset_hash,
        {"dataset": data.name, "root": data.root}, profile,
    )  # fmt: skip


def study_tags(space: Space, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of the study's own run, from the facts of `study.json`."""
    tags = {f"version.{name}": version for name, version in provenance.versions().items()}
    return {
        **tags,
        "commit": provenance.commit(),
        "code": code_history(facts),
        "machine": provenance.machine(),
        "objective": space.objective.metric,
        "space_file": facts["space_file"],
        "selected_on_test": str(space.selected_on_test).lower(),
        "smoke": str(bool(space.smoke)).lower(),
    }
