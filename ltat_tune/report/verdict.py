"""Build the sections on verdict, winners and confirmations, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltat_tune.report.blocks import Block, Heading, Listing, PageSection, Table, Text, table
from ltat_tune.report.data import Confirmed, ReportData, Scene, sentinel, shown_names
from ltat_tune.report.words import (
    NONE,
    attack_name,
    configuration,
    count,
    how_it_ended,
    label,
    method_name,
    metric_name,
    percent,
    place,
    settings,
    trial,
    value,
)
from ltat_tune.results.model import ConfirmedResult
from ltat_tune.results.verdict import over_scenarios, verdict_of
from ltat_tune.results.wording import SPREAD, lead_clause, masking_line, mean_std, power
from ltat_tune.space.objective import attack_of, group_of


def warnings(data: ReportData) -> list[Text]:
    """Return warnings on what limits the study's numbers."""
    texts = []
    if data.is_smoke:
        texts.append(Text("Smoke run: it only shows that the space file runs. Its numbers mean "
                          "nothing.", "loud"))  # fmt: skip
    if data.results.selected_on_test:
        texts.append(Text(
            "selected_on_test: the validation images are the test images, as in the papers' own "
            "protocol. Configurations and epochs were chosen on the same images on which they are "
            "measured, so these numbers are too high and must not be ranked beside honest ones.",
            "loud",
        ))  # fmt: skip
    if data.state == "running":
        texts.append(Text("The study is still running. This report shows its state now.", "loud"))
    if data.state == "unfinished":
        texts.append(Text(
            f"The study is not finished. To finish it: {data.folder.resume_command}", "loud"
        ))  # fmt: skip
    return texts


def verdict_section(data: ReportData) -> PageSection:
    """Return the verdict: one sentence for each scenario, and those over all of them."""
    if data.is_smoke:
        none = "No verdict: a smoke run only shows that the file runs. Its numbers mean nothing."
        return PageSection("verdict", "Verdict", (Listing((none,), True),))
    sentences = [_sentence(data, scene) for scene in data.scenes]
    average = _average_sentence(data)
    names = {scene.results.name: place(scene.scenario) for scene in data.scenes}
    together = over_scenarios(data.results, lambda scenario: names[scenario.name])
    sentences += [f"{line[0].upper()}{line[1:]}." for line in [together] if line]
    blocks: list[Block] = [Listing(tuple(sentences + ([average] if average else [])), True)]
    blocks += [Text(line) for line in _searched_on(data)]
    return PageSection("verdict", "Verdict", tuple(blocks))


def _searched_on(data: ReportData) -> list[str]:
    """Return what each search changed that went on after the test images were seen."""
    lines = []
    for one in data.results.searched_on:
        for scene in data.scenes:
            name = scene.results.name
            then, now = one.winners.get(name), scene.results.winner_recipe
            trials = f"{one.trials.get(name, 0)} trials then, {scene.results.trials.total} now"
            change = "the winner is the same" if then == now else "another configuration wins now"
            lines.append(
                f"Searched on after the test images were seen ({one.at[:10]}), "
                f"{place(scene.scenario)}: {trials}; {change}."
            )
    return lines


def _sentence(data: ReportData, scene: Scene) -> str:
    where = f"On {place(scene.scenario)}, " if scene.scenario.values else ""
    winner, baseline = scene.winner, scene.baseline
    verdict = verdict_of(data.results, scene.results)
    if winner is None or verdict is None:
        return where + _unconfirmed(data, scene)
    described = configuration(winner.config, winner.result.params)
    if not verdict.score:
        text = (
            f"{where}{described} has {verdict.chosen_by} % {metric_name(data.metric)} on the "
            "validation images, by which it was chosen; it is not tested yet"
        )
    else:
        text = f"{where}{described} {'is best: it has' if verdict.is_best else 'has'} "
        text += f"{verdict.score} % {metric_name(data.results.verdict_metric)} on the test images"
        if verdict.baseline_score is not None and baseline is not None:
            text += f", the baseline, {method_name(baseline.config)}, {verdict.baseline_score} %"
    claims = [f"it {claim}" for claim in verdict.claims]
    parts = [text, *claims, *verdict.advice, _masked(data, scene), _saved(scene), *verdict.caveats]
    sentence = "; ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."


def _unconfirmed(data: ReportData, scene: Scene) -> str:
    best = scene.best
    if best is not None:
        described = configuration(data.config(scene, best.params), best.params)
        what = f"{percent(best.score)} % {metric_name(data.metric)} with one seed"
        why = "not confirmed" if data.state == "finished" else "not confirmed yet"
        return f"the best trial is {trial(best.number)}, {described}: {what}, {why}."
    if scene.results.infeasible:
        return f"{scene.results.infeasible}."
    if not scene.rows:
        return "nothing has been trained yet."
    states = ", ".join(f"{n} {how_it_ended(s)}" for s, n in scene.results.trials if n)
    return f"no trial was trained to its end{f' ({states})' if states else ''}."


def _masked(data: ReportData, scene: Scene) -> str:
    report = sentinel(scene)
    if report is None:
        pending = data.results.confirm.sentinel and scene.results.eps > 0
        return "gradient masking is not checked yet" if pending else ""
    if report.is_clear and report.right:
        return "no sign of gradient masking"
    return f"gradient masking: {masking_line(report)}".rstrip(".")


def _saved(scene: Scene) -> str:
    epochs = scene.results.epochs
    if not epochs.planned or not epochs.saved:
        return ""
    share = 100 * abs(epochs.saved) / epochs.planned
    return f"{share:.0f} % {'of epochs saved' if epochs.saved > 0 else 'more epochs than planned'}"


def _average_sentence(data: ReportData) -> str:
    if len(data.average) < 2:
        return ""
    best, second = data.average[:2]
    described = configuration(data.config(data.scenes[0], best.params), best.params)
    tie = "" if second.mean_rank > best.mean_rank else ", which others share"
    return (
        f"Over the {len(data.scenes)} scenarios, {described} ranks first by the search's "
        f"validation scores, of the {len(data.average)} configurations that all of them tried: "
        f"mean rank {best.mean_rank:.3g}{tie}, from one training each, not tested."
    )


def winners(data: ReportData) -> PageSection:
    """Return the section with each winner beside its baseline: scores, then parameters."""
    blocks: list[Block] = []
    attacks = data.results.confirm.attacks
    rows: list[list[str]] = []
    strong = []
    for scene in data.scenes:
        for role, one in (("winner", scene.winner), ("baseline", scene.baseline)):
            if one is None or not one.result.seeds or (role == "baseline" and one is scene.winner):
                continue
            if role == "winner":
                strong.append(len(rows))
            rows.append([
                place(scene.scenario), f"{role} {trial(one.result.number)}",
                method_name(one.config), *_scores(data, one.result, attacks),
                str(len(one.result.seeds)),
            ])  # fmt: skip
    if not rows:
        blocks.append(Text("No configuration was confirmed, so there is no winner to show. The "
                           "best trials are listed under All trials."))  # fmt: skip
    else:
        head = ["scenario", "", "method", f"val {_short(data.metric)}",
                *(f"test {attack_name(a)}" for a in attacks), "seeds"]  # fmt: skip
        chosen = (
            "Chosen on the test images (selected_on_test); the val column is measured on them too."
            if data.results.selected_on_test else
            "Chosen by the validation column, which is therefore optimistic; the test images "
            "chose nothing."
        )  # fmt: skip
        caption = f"Mean accuracy in %. {SPREAD} {chosen}"
        blocks.append(table(caption, head, rows, text=3, strong=strong))
    for scene in data.scenes:
        blocks += _parameters(data, scene)
    return PageSection("winners", "Winners", (*blocks, *_on_average(data)))


def _short(metric: str) -> str:
    return f"{attack_name(attack_of(metric))} {group_of(metric)}".strip()


def _scores(data: ReportData, result: ConfirmedResult, attacks: Sequence[str]) -> list[str]:
    cells = [mean_std(result.scores("val", data.metric))]
    return cells + [mean_std(result.scores("test", f"test/{a}_acc")) for a in attacks]


def _parameters(data: ReportData, scene: Scene) -> list[Block]:
    winner, baseline = scene.winner, scene.baseline
    if winner is None:
        return []
    other: Mapping[str, Any] = {}
    if baseline is not None and baseline is not winner:
        other = baseline.result.params
    tried = {*winner.result.params, *other}
    paths = [path for path in data.space.tuned if path in tried]
    edges = {edge.path: edge for edge in scene.results.edges}
    rows = []
    for path in paths:
        won = winner.result.params
        mark = f"on the {edges[path].side} edge" if path in edges else ""
        cells = [value(path, p[path]) if path in p else NONE for p in (won, other)]
        rows.append([label(path), *cells, str(data.space.tuned.get(path, "")), mark])
    blocks: list[Block] = [Heading(scene.scenario.title)]
    blocks.append(Table(
        "The values of the winner and of the baseline, and the searched ranges.",
        ("parameter", "winner", "baseline", "searched", "note"),
        tuple(map(tuple, rows)), numeric=frozenset({1, 2}),
    ))  # fmt: skip
    second = scene.results.leads.runner_up
    if second is not None:
        blocks.append(Text(
            f"The winner {lead_clause(second, f'the runner-up {trial(second.number)}')}."
        ))  # fmt: skip
    for edge in edges.values():
        blocks.append(Text(
            f"{label(edge.path)} = {value(edge.path, edge.value)} lies on the "
            f"{edge.side} edge of its range, so the best value may lie outside. A wider range: "
            f"{edge.yaml}"
        ))  # fmt: skip
    return blocks


def _on_average(data: ReportData) -> list[Block]:
    if len(data.scenes) < 2:
        return []
    blocks: list[Block] = [Heading("Mean rank over the scenarios")]
    if len(data.average) < 2:
        blocks.append(Text(
            f"{count(len(data.average), 'configuration was', 'configurations were')} tried in "
            "every scenario, so there is nothing to rank. Each scenario has its own search. To "
            "compare configurations over all scenarios, list them under start_from or use the "
            "grid searcher."
        ))  # fmt: skip
        return blocks
    shown = data.average[:10]
    called = shown_names([data.config(data.scenes[0], one.params) for one in shown])
    rows = []
    for name, one in zip(called, shown, strict=True):
        cells = []
        for scene in data.scenes:
            row = one.trials[scene.scenario.name]
            score = percent(row.score) if row.score is not None else how_it_ended(row.state)
            cells.append(f"{one.ranks[scene.scenario.name]:g}  ({score})")
        rows.append([name, settings(one.params) or NONE, f"{one.mean_rank:.3g}", *cells])
    head = ["method", "settings", "mean rank", *(place(scene.scenario) for scene in data.scenes)]
    caption = (
        f"Mean rank over the scenarios, for the {len(data.average)} configurations that all of "
        "them tried (best ten). In brackets: the search's score in %, from one training."
    )
    blocks.append(table(caption, head, rows, text=2, strong=[0]))
    return blocks


def confirmations_section(data: ReportData) -> PageSection:
    """Return the section with every confirmed configuration under every attack."""
    attacks = data.results.confirm.attacks
    blocks: list[Block] = []
    for scene in data.scenes:
        done = [one for one in scene.confirmed if one.result.seeds]
        if not done:
            continue
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        called = shown_names([one.config for one in done])
        metrics = {f"val {_short(data.metric)}": ("val", data.metric)}
        for attack in attacks:
            for group in ("", "balanced", "tail", "worst"):
                title = f"test {attack_name(attack)} {group}".strip()
                part = f"test/{attack}_{group}_acc" if group else f"test/{attack}_acc"
                metrics[title] = ("test", part)
        rows = [
            [title, *(mean_std(one.result.scores(split, metric)) or NONE for one in done)]
            for title, (split, metric) in metrics.items()
        ]
        head = ["accuracy, %"]
        head += [_title(one, name) for one, name in zip(done, called, strict=True)]
        caption = f"{_test_images(done)}Mean accuracy in %. {SPREAD}"
        blocks.append(table(caption, head, rows))
        blocks += _against_baseline(data, scene)
    if not blocks:
        why = (
            "confirm.top is 0"
            if data.space.confirm.top == 0
            else "none was trained to its end yet"
        )
        blocks.append(Text(f"No configuration is confirmed: {why}."))
    return PageSection("confirmations", "Confirmations", tuple(blocks))


def _title(one: Confirmed, name: str) -> str:
    labels = [trial(one.result.number), *(["baseline"] if one.result.is_baseline else [])]
    return f"{name} ({', '.join(labels)}, seeds {_list(one.result.seeds)})"


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _test_images(done: Sequence[Confirmed]) -> str:
    images = done[0].result.test_images
    counts = ", ".join(f"{attack_name(a)} on {n}" for a, n in images.items())
    return f"Test images: {counts}. " if counts else ""


def _against_baseline(data: ReportData, scene: Scene) -> list[Block]:
    baseline, winner = scene.baseline, scene.winner
    if winner is None or baseline is None or winner is baseline:
        return []
    lead = scene.results.leads.baseline
    if lead is None:
        return []
    line = f"In {metric_name(lead.metric)} on the test images, the winner "
    advice = power(lead)
    return [Text(". ".join(filter(None, [
        f"{line}{lead_clause(lead, 'the baseline')}", advice[:1].upper() + advice[1:]
    ])) + ".")]  # fmt: skip
