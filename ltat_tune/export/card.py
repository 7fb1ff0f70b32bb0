"""Write the model card: what a winner is, how it was chosen and measured, and its limits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import pixels
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import (
    NORM_NAMES,
    counts_in_words,
    ratio_in_words,
    training_words,
)
from ltat_tune.presentation.text_tables import markdown_table
from ltat_tune.presentation.units import percent
from ltat_tune.results.verdict import verdict_of
from ltat_tune.results.wording import SPREAD, masking_line, mean_std, tested_part, trial_ends

if TYPE_CHECKING:
    from ltat_tune.export.winner import Winner


_LEFT_OUT = re.compile(r"_(under|well|class_\d+)_acc$")
_SOURCES = {
    "train": "held out of the official training images before the tail was cut; class-balanced",
    "folder": "the data set's own validation folder",
    "given": "the data set's own validation images, or those of `data.indices`",
    "test": "**the test images** (the papers' protocol)",
}


def model_card(
    winner: Winner, *, loading: Sequence[str] = (), checks: Mapping[str, str] | None = None
) -> str:
    """Return the model card as Markdown.

    Args:
        winner: the exported winner.
        loading: sections on how to load the files beside the card.
        checks: file name -> how closely the file agrees with the checkpoint.
    """
    config = winner.training.config
    sections = [
        _title(winner, config), _warnings(winner), _model(winner, config), _data(winner, config),
        _protocol(winner, config), _numbers(winner), _limits(winner, config),
        _checks(checks or {}), _load(winner, loading),
    ]  # fmt: skip
    return "\n\n".join(part for part in sections if part) + "\n"


def _title(winner: Winner, config: TrialConfig) -> str:
    rank = "winner" if winner.place == 1 else f"place {winner.place}"
    method, loss = training_words(config)
    name = f"{method} with {loss} on {config.data.name}"
    if config.trains_elsewhere:
        name = f"{method} on {config.data.name}"
    return (
        f"# {name}: {winner.scenario.title}\n\n"
        f"The {rank} of study `{winner.results.study}` in scenario "
        f"`{winner.scenario.name}`: trial `{winner.recorded['trial']}`, seed "
        f"{config.seeds.seed}. Made by ltat-tune {winner.recorded['versions']['ltat-tune']}."
    )


def _warnings(winner: Winner) -> str:
    lines = []
    if winner.results.smoke:
        lines.append("> **Smoke run.** The study only showed that its space file runs. No number "
                     "here means anything.")  # fmt: skip
    if winner.recorded["selected_on_test"]:
        lines.append("> **selected_on_test.** Epochs and configurations were chosen on the test "
                     "images, as in the papers. Test numbers are optimistic and must not be "
                     "ranked beside honest ones.")  # fmt: skip
    return "\n>\n".join(lines)


def _model(winner: Winner, config: TrialConfig) -> str:
    model, recorded = config.model, winner.recorded
    width = "" if model.width is None else f", width {model.width}"
    classes, shape = recorded.get("classes"), recorded.get("image_shape")
    count = len(winner.confirmed.samples_per_class)
    logits = f"logits x {model.inference_scale:g}" if model.inference_scale != 1 else "logits"
    adjusted = f", less {model.posthoc_tau:g} times the log-prior" if model.posthoc_tau else ""
    rows = {
        "network": f"{model.name}{width}, {model.head} head",
        "input": f"images in [0, 1], float32, N x {' x '.join(map(str, shape or 'CHW'))}; "
        "normalisation is inside",
        "output": f"{logits}{adjusted}, N x {count}",
        "classes": ", ".join(classes) if classes else str(count),
        "weights": f"`{recorded['weights']}`, of epoch {recorded['epoch']} of "
        f"{config.optim.epochs} (`evaluation.select_epoch: {config.evaluation.select_epoch}`)",
        "configuration": f"`{winner.path.name}` (identity `{config.identity}`)",
        **({"trained on": recorded["arithmetic"]} if recorded.get("arithmetic") else {}),
        **_own_code(winner, config),
    }
    searched = [[PARAMETERS[path].label, str(value)] for path, value in winner.params.items()]
    head = ["searched parameter", "value"]
    more = "\n\n" + markdown_table([head, *searched], words=2) if searched else ""
    return "## Model\n\n" + _table(rows) + more


def _own_code(winner: Winner, config: TrialConfig) -> dict[str, str]:
    """Return a table row for each plugin: which file runs, and what it adds."""
    rows = {}
    for plugin in config.plugins:
        parts = [f"`{part.chosen_by}: {part.name}`" for part in config.parts
                 if part.plugin and part.plugin.name == plugin["name"]]  # fmt: skip
        file = os.path.relpath(winner.plugins[plugin["name"]], winner.path.parent)
        rows[f"plugin `{plugin['name']}`"] = (
            f"code that is not part of ltat-tune: `{file}` beside this card (sha256 "
            f"`{plugin['sha256']}`; any other file is refused) adds {', '.join(parts)}. It runs "
            "whenever the configuration is read or the model is loaded, and the packages that it "
            "imports must be installed. A registered model holds a copy"
        )
    return rows


def _table(rows: Mapping[str, str]) -> str:
    return markdown_table([["", ""], *rows.items()], words=2)


def _data(winner: Winner, config: TrialConfig) -> str:
    data, counts = config.data, winner.confirmed.samples_per_class
    images = ", ".join(f"{attack} {n}" for attack, n in winner.recorded["test_images"].items())
    where = f" in `{data.root}`" if data.root else ""
    rows = {
        "data set": f"{data.name}{where}",
        "profile": f"{data.profile}, imbalance ratio {ratio_in_words(data, counts)}",
        "training images": f"{sum(counts)}; by class: "
        f"{counts_in_words(counts, winner.recorded.get('classes'))}",
        "validation images": _SOURCES[data.val_source],
        "test images": f"the official test split, class-balanced or as published; {images}"
        if images else "not measured",
        "subset": f"hash `{winner.recorded['subset_hash']}` of all training and validation "
        "images and their labels",
    }  # fmt: skip
    return (
        "## Data\n\n" + _table(rows) + "\n\nltat-tune does not know the licence of the "
        "images. Before you pass the model on, check that the data set allows it."
    )


def _protocol(winner: Winner, config: TrialConfig) -> str:
    results, scenario = winner.results, winner.scenario
    attack = config.attack
    trained = (
        f"{attack.steps} steps of {_pixels(attack.step_size)}, {NORM_NAMES[attack.norm]}, eps "
        f"{_pixels(attack.eps)}" if attack.eps > 0 else "none"
    )  # fmt: skip
    if config.trains_elsewhere:
        trained = training_words(config)[1]
    rows = {
        "chosen by": f"`{results.objective}`, mean over the confirmation seeds",
        "search": trial_ends(scenario.trials),
        "confirmation": f"retrained with seeds {', '.join(map(str, winner.confirmed.seeds))} "
        f"for {config.optim.epochs} epochs; this file is of seed {config.seeds.seed}, the first "
        "seed, not the best one",
        "attack in training": trained,
        "attacks measured": f"{', '.join(results.confirm.attacks)}; "
        f"{NORM_NAMES[scenario.norm]}, eps {pixels(scenario.eps)}",
        "gradient masking": _masking(winner),
    }
    return "## Protocol\n\n" + _table(rows)


def _pixels(value: float | None) -> str:
    return "default length" if value is None else pixels(value)


def _masking(winner: Winner) -> str:
    report = winner.scenario.sentinel if winner.place == 1 else None
    if report is None:
        return "not checked: the robust accuracy may be too high"
    return masking_line(report)


def _numbers(winner: Winner) -> str:
    """Return the accuracies: mean and spread over seeds, this file's own, the baseline's."""
    confirmed, recorded = winner.confirmed, winner.recorded
    baseline = winner.scenario.baseline
    beside = baseline is not None and baseline.recipe != confirmed.recipe
    seeds = len(confirmed.seeds)
    lines = [["accuracy, %", f"mean, n = {seeds}", "this file", *["baseline"] * beside]]
    for split in ("val", "test"):
        columns = confirmed.val if split == "val" else confirmed.test
        for metric, values in sorted(columns.items()):
            if not metric.startswith(split) or _LEFT_OUT.search(metric):
                continue
            own = recorded[split].get(metric)
            cells = [metric, mean_std(values), "" if own is None else percent(own)]
            if beside and baseline is not None:
                cells.append(mean_std(baseline.scores(split, metric)))
            lines.append(cells)
    notes = [SPREAD] if seeds > 1 else []
    verdict = verdict_of(winner.results, winner.scenario) if winner.place == 1 else None
    if verdict is not None and not winner.results.smoke:
        claims = [f"it {claim}" for claim in verdict.claims]
        said = ["it is best"] * verdict.is_best + [*claims, *verdict.advice, *verdict.caveats]
        notes += (
            [f"Verdict, in `{winner.results.verdict_metric}`: {'; '.join(said)}."] if said else []
        )
    notes.append("balanced: mean recall over the classes; worst: the smallest recall; head, body, "
                 "tail: thirds of the classes by number of training images.")  # fmt: skip
    return "## Numbers\n\n" + markdown_table(lines) + "\n\n" + " ".join(notes)


def _limits(winner: Winner, config: TrialConfig) -> str:
    seeds = len(winner.confirmed.seeds)
    measured = winner.results.confirm.attacks
    lines = [
        f"The model is robust only as measured: {NORM_NAMES[winner.scenario.norm]} within eps "
        f"{pixels(winner.scenario.eps)}. Other norms, larger radii, patches, corruptions and "
        "images from other sources were not tested.",
    ]
    if not any(attack == "aa" for attack in measured):
        lines.append("AutoAttack was not run, and stronger attacks may find more errors. "
                     "`ltat-tune evaluate` runs it.")  # fmt: skip
    if seeds < 3:
        lines.append(f"{seeds} seed{'s' * (seeds != 1)}: too few to know the spread.")
    partly = [a for a, n in winner.recorded["test_images"].items()
              if n < max(winner.recorded["test_images"].values())]  # fmt: skip
    if part := tested_part(winner.results.confirm.test_images):
        lines.append(f"{part[:1].upper()}{part[1:]}.")
    if partly:
        lines.append(f"Measured on only a part of the test images: {', '.join(partly)}.")
    lines.append("Rare classes were learned from few images. Their recall is far from the mean "
                 "(see the worst class above).")  # fmt: skip
    lines.append("Softmax outputs of adversarially trained networks are not calibrated "
                 "probabilities.")  # fmt: skip
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _checks(checks: Mapping[str, str]) -> str:
    if not checks:
        return ""
    lines = [f"- `{name}`: {agreement}" for name, agreement in checks.items()]
    return "## Checked against the checkpoint\n\n" + "\n".join(lines)


def _load(winner: Winner, loading: Sequence[str]) -> str:
    again = (
        "To train it again to the same digits:\n\n"
        f"```sh\nltat-tune train {winner.path.name} --test\n```"
    )
    return "\n\n".join(["## How to use it", *loading, again])
