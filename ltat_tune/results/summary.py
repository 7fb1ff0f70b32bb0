"""The results as tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import pixels
from ltat_tune.presentation.names import NORM_NAMES
from ltat_tune.results.collect import find, masking, mean, mean_std
from ltat_tune.results.range_edges import in_words
from ltat_tune.space.space import text_of

_SMOKE = "smoke run: the file runs, and these numbers mean nothing"


def print_summary(results: Mapping[str, Any]) -> RenderableType:
    """One block a scenario: winner and baseline side by side, its parameters, what was stopped."""
    blocks: list[RenderableType] = []
    for scenario in results["scenarios"]:
        blocks += [Text(), _scenario(results, scenario)]
    return Group(*blocks)


def as_text(results: Mapping[str, Any], width: int = 100) -> str:
    """The same as plain text, for files."""
    console = Console(
        file=io.StringIO(), width=width, no_color=True, highlight=False, force_jupyter=False
    )  # which would show it below the cell instead
    console.print(print_summary(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _scenario(results: Mapping[str, Any], scenario: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [Text(scenario["title"], style="bold")]
    if results["selected_on_test"]:
        parts.append(Text("selected_on_test: validation images are the test images", style="red"))
    if results.get("smoke"):
        parts.append(Text(_SMOKE, style="red"))
    winner, baseline = find(scenario, scenario["winner"]), find(scenario, scenario["baseline"])
    if winner is not None:
        parts += [
            _scores(results, scenario, winner, baseline),
            Text(),
            _parameters(winner, baseline),
        ]
        parts.append(_protocol(results, scenario, winner))
        parts += _masking(results, scenario)
        parts += _beside(scenario)
    elif scenario["best_trials"]:
        best = scenario["best_trials"][0]
        parts.append(Text(f"best trial t{best['number']:04d}: {100 * best['score']:.1f} % "
                          f"{results['objective']}, not confirmed"))  # fmt: skip
    elif not scenario.get("infeasible"):
        parts.append(Text("no trial was completed", style="red"))
    if scenario.get("infeasible"):
        parts.append(Text(scenario["infeasible"], style="red"))
    if scenario.get("front"):
        numbers = ", ".join(f"t{number:04d}" for number in scenario["front"])
        parts.append(Text(f"no other trial beats in every objective: {numbers}", style="dim"))
    parts.append(_effort(scenario))
    if scenario.get("exhausted"):
        parts.append(Text(scenario["exhausted"], style="dim"))
    parts += [Text(f"failed: {cause}", style="red") for cause in scenario["failures"]]
    return Group(*parts)


def _scores(
    results: Mapping[str, Any],
    scenario: Mapping[str, Any],
    winner: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("accuracy, % (mean ± std over seeds)")
    columns = {"winner": winner}
    if baseline is not None and baseline["recipe"] != winner["recipe"]:
        columns["baseline"] = baseline
    for title, column in columns.items():
        table.add_column(f"{title} t{column['number']:04d}", justify="right")
    rows = {f"{results['objective']}  (selected by)": ("val", results["objective"])}
    robust = _robust_attack(results)
    images: Mapping[str, int] = winner.get("test_images", {})
    every = max(images.values(), default=0)
    for attack in results["confirm"]["attacks"]:
        part = f"  (on {images[attack]} images)" if images.get(attack, every) < every else ""
        rows[f"test/{attack}_acc{part}"] = ("test", f"test/{attack}_acc")
    if robust is not None:
        for group in ("balanced", "worst", "tail"):
            name = f"test/{robust}_{group}_acc"
            rows[name + ("  (worst class)" if group == "worst" else "")] = ("test", name)
    for title, (split, metric) in rows.items():
        cells = [mean_std(column[split].get(metric, [])) for column in columns.values()]
        table.add_row(title, *cells)
    return table


def _robust_attack(results: Mapping[str, Any]) -> str | None:
    """The PGD attack among those confirmed, else any but clean."""
    attacks = [a for a in results["confirm"]["attacks"] if a != "clean"]
    return next((a for a in attacks if a.startswith("pgd")), attacks[0] if attacks else None)


def _parameters(winner: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("tuned parameter")
    table.add_column("winner", justify="right")
    both = baseline is not None and baseline["recipe"] != winner["recipe"]
    if both:
        table.add_column("baseline", justify="right")
    other: Mapping[str, Any] = baseline["params"] if baseline is not None and both else {}
    for path in dict.fromkeys([*winner["params"], *other]):
        cells = [
            text_of(p[path]) if path in p else ""
            for p in ([winner["params"], other] if both else [winner["params"]])
        ]
        table.add_row(PARAMETERS[path].label, *cells)
    return table


def _protocol(
    results: Mapping[str, Any], scenario: Mapping[str, Any], winner: Mapping[str, Any]
) -> Text:
    images = ", ".join(f"{a} on {n}" for a, n in winner.get("test_images", {}).items())
    counts = winner["samples_per_class"]
    return Text(
        f"seeds {text_of(winner['seeds'])}; {NORM_NAMES[scenario['norm']]} eps "
        f"{pixels(scenario['eps'])}; test images: {images or 'none'}\n"
        f"{sum(counts)} training images, by class: {text_of(counts)}",
        style="dim",
    )


def _beside(scenario: Mapping[str, Any]) -> list[RenderableType]:
    """How sure the choice is, and where the search may have been too narrow."""
    lines = []
    second = scenario.get("leads", {}).get("runner_up")
    if second is not None:
        name = f"the runner-up t{second['number']:04d}"
        lines.append(f"{100 * second['gain']:+.1f} points against {name} ({in_words(second)})")
    for edge in scenario.get("edges", []):
        lines.append(
            f"{edge['path']} {text_of(edge['value'])} lies on the {edge['side']} edge of its "
            f"range; wider: {edge['yaml']}"
        )
    return [Text(line, style="dim") for line in lines]


def _masking(results: Mapping[str, Any], scenario: Mapping[str, Any]) -> list[RenderableType]:
    """What the sentinel says of the winner; nothing where it was not asked for."""
    report = scenario.get("sentinel")
    if report is not None:
        style = "dim" if report["verdict"] == "clear" else "red"
        return [Text(f"gradient masking: {masking(report)}", style=style)]
    asked = results["confirm"].get("sentinel") and scenario["eps"] > 0
    return [Text("gradient masking: not looked for yet", style="red")] if asked else []


_RUNGS = {"copy": "copies of {} epochs", "probe": "probes at epoch {}", "prefix": "epoch {}"}


def _effort(scenario: Mapping[str, Any]) -> Text:
    trials, epochs = scenario["trials"], scenario["epochs"]
    total = sum(trials.values())
    saved, planned = epochs["saved"], epochs["planned"]
    share = 100 * abs(saved) / planned if planned else 0.0
    effect = f"{saved} of {planned} epochs saved ({share:.0f} %)"
    if saved < 0:
        effect = f"{-saved} epochs more than the {planned} of whole trainings ({share:.0f} %)"
    text = (
        f"{total} trials: {trials['complete']} complete, {trials['pruned']} stopped early, "
        f"{trials['failed']} failed, {trials['diverged']} diverged\n{effect}"
    )
    for rung in scenario.get("rungs", []):
        if rung["correlation"] is not None:
            name = _RUNGS[rung["kind"]].format(rung["epochs"])
            text += (
                f"\n{name}: rank correlation {rung['correlation']:.2f} with the end, over "
                f"the {rung['trials']} trials that got there"
            )
    return Text(text, style="dim")


def verdict(results: Mapping[str, Any]) -> list[str]:
    """One sentence a scenario: who won by how much, in words; of a smoke run only what it is."""
    if results.get("smoke"):
        return [_SMOKE]
    sentences = []
    for scenario in results["scenarios"]:
        winner, baseline = find(scenario, scenario["winner"]), find(scenario, scenario["baseline"])
        metric = results["objective"]
        if winner is None:
            continue
        score = winner["val"][metric]
        method = winner["params"].get("method.name", "the winner")
        text = f"{scenario['title']}: {method} reaches {mean_std(score)} % {metric}"
        if baseline is not None and baseline["val"].get(metric) and baseline is not winner:
            base = baseline["val"][metric]
            gain = 100 * (mean(score) - mean(base))
            text += f", {gain:+.1f} points against the baseline's {mean_std(base)} %"
            if "baseline" in scenario.get("leads", {}):
                text += f" ({in_words(scenario['leads']['baseline'])})"
        elif baseline is winner:
            text += "; it is the baseline itself, which nothing beat"
        classes = len(winner["samples_per_class"])
        if metric.endswith("_balanced_acc") and mean(score) < 1.1 / classes:
            text += f"; no better than guessing one of {classes} classes: train longer"
        if results["selected_on_test"]:
            text += "; selected on the test images, so optimistic"
        sentences.append(text)
    return sentences


def best_trials(results: Mapping[str, Any]) -> RenderableType:
    """The best complete trials of each scenario, by their one validation score."""
    parts: list[RenderableType] = []
    for scenario in results["scenarios"]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("trial", "score, %", "parameters"):
            table.add_column(title)
        for trial in scenario["best_trials"]:
            shown = ", ".join(f"{p} {text_of(v)}" for p, v in trial["params"].items())
            table.add_row(f"t{trial['number']:04d}", f"{100 * trial['score']:.1f}", shown)
        title = f"{scenario['title']}: best complete trials ({results['objective']}, one seed)"
        parts += [Text(), Text(title, style="bold"), table]
    return Group(*parts)
