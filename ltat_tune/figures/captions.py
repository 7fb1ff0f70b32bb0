"""The small print below a figure: where its numbers come from, and how the paper's differ."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from ltat_tune.config.scalars import pixels
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.figures.sources import Recipe, common_split
from ltat_tune.presentation.names import NORM_NAMES, attack_name, problem_names
from ltat_tune.presentation.value_phrases import setting
from ltat_tune.storage.trained_run import Run

# Setting of all figures of both papers: REAT 5, SRAT 5.1.
_PAPERS_MODEL = "ResNet-18"
_PAPERS_ATTACK, _PAPERS_TRAINING_ATTACK = (f"PGD-{k}, L∞, ε = 8/255" for k in (20, 10))
_REACHED = re.compile(r" \([^()]+ reached\)|; [^();]+ reached")  # as `problem_name` writes it
_TEST, _TRAINING = "test images", "training attack "


def small_print(
    fig: Figure,
    recipes: Sequence[Recipe],
    *,
    paper: str | None = None,
    data: str | None = None,
    attack: str | None = None,
    images: str | None = None,
    seeds: str | None = None,
    more: Sequence[str] = (),
) -> tuple[str, ...]:
    """Write the line that a reader needs to understand a figure's numbers.

    Args:
        fig: the figure, which makes room for it.
        recipes: all models that it shows, not empty.
        paper: the data of the paper's figure, empty if its text does not name them; None if the
            figure is in no paper. Below a paper's figure the line says what differs from it.
        data: None: the recipes' data, as SRAT names them.
        attack: with norm and radius, empty for none; None: the evaluation's.
        images: the measured images; None: what `common_split` returns for the clean accuracy and
            for the evaluation's attack.
        seeds: None: how many, and that mean and spread are over them.
        more: further parts of the line.

    Returns:
        What differs from the paper, for `Drawing.notes`.
    """
    run = robust_run(recipes)
    models = list(dict.fromkeys(setting("model.name", r.config.model.name) for r in recipes))
    facts = [
        (_problems(recipes) if data is None else data, paper or ""),
        ("" if paper is None else " and ".join(models), _PAPERS_MODEL),
        (attack_text(run) if attack is None else attack, _PAPERS_ATTACK),
        (images_text(recipes, ("clean", run.attack)), _TEST) if images is None else (images, ""),
    ]
    if facts[2][0].startswith(_TRAINING):
        facts[2] = facts[2][0], _TRAINING + _PAPERS_TRAINING_ATTACK
    elif facts[2][0].startswith(tuple(NORM_NAMES.values())):  # only the ball, for many attacks
        facts[2] = facts[2][0], _PAPERS_ATTACK.partition(", ")[2]
    phrases = [_compared(own, his if paper is not None else "") for own, his in facts]
    below(fig, [text for text, _ in phrases if text] + [seeds_text(recipes) if seeds is None else
                                                     seeds, *more])  # fmt: skip
    return tuple(text for text, differs in phrases if differs)


def _problems(recipes: Sequence[Recipe]) -> str:
    return problem_names([(r.config.data, r.first.samples_per_class) for r in recipes])


def _compared(own: str, papers: str) -> tuple[str, bool]:
    """Return a phrase, and whether it differs from the paper.

    For example `digits Step-4, not the paper's CIFAR-10 Step-100`. The ratio that class counts
    reach makes no other problem.
    """
    requested = _REACHED.sub("", own)
    if not own or not papers or requested == papers or requested.startswith(f"{papers} ("):
        return own, False
    ours = requested.split(", ")
    theirs = [part for part in papers.split(", ") if part not in ours]  # only what differs
    return f"{own}, not the paper's {', '.join(theirs).removeprefix(_TRAINING)}", True


def below(fig: Figure, parts: Sequence[str]) -> None:
    """Write small grey text under the axes; the layout makes room for it."""
    text = "; ".join(parts).replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    most = int(fig.get_figwidth() * 20)  # letters that fit at this size
    lines = textwrap.wrap(text, most, break_on_hyphens=False)
    for width in range(len(text) // len(lines), most):  # no single word on the last line
        if len(even := textwrap.wrap(text, width, break_on_hyphens=False)) == len(lines):
            lines = even
            break
    fig.supxlabel("\n".join(lines), fontsize=6.5, color="#555555")


def robust_run(recipes: Sequence[Recipe]) -> Run:
    """Return the run whose attack the figure shows: of adversarial training, if there is one."""
    return next((r for r in recipes if r.config.method.name != "natural"), recipes[0]).first


def norm_text(config: TrialConfig) -> str:
    """Return the norm of the evaluation, `L∞` or `L2`."""
    return NORM_NAMES[config.measured_norm]


def ball_text(config: TrialConfig) -> str:
    """Return the ball of the evaluation, such as `L∞, ε = 8/255`."""
    return f"{norm_text(config)}, ε = {pixels(config.measured_eps)}"


def attack_text(run: Run) -> str:
    """Return the attack with its ball, such as `PGD-20, L∞, ε = 8/255`."""
    return f"{attack_name(run.attack)}, {ball_text(run.config)}"


def training_attack_text(config: TrialConfig) -> str:
    """Return a text such as `training attack PGD-10, L∞, ε = 8/255`."""
    attack = config.attack
    return f"{_TRAINING}PGD-{attack.steps}, {NORM_NAMES[attack.norm]}, ε = {pixels(attack.eps)}"


def seeds_text(recipes: Sequence[Recipe]) -> str:
    """Return `mean ± standard deviation of 3 seeds`, or `one seed`."""
    numbers = sorted({len(recipe.runs) for recipe in recipes})
    if numbers == [1]:
        return "one seed"
    many = "–".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"mean ± standard deviation of {many} seeds"


def images_text(recipes: Sequence[Recipe], attacks: Sequence[str]) -> str:
    """Return `test images`, `validation images`, or which attack ran on which of them.

    The text names the papers' protocol, validating on the test images, if a model followed it.
    """
    texts = {attack: _split_text(recipes, attack) for attack in attacks}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{attack_name(attack)}: {text}" for attack, text in texts.items())


def _split_text(recipes: Sequence[Recipe], attack: str) -> str:
    validates = any(recipe.config.data.val_source == "test" for recipe in recipes)
    if common_split(recipes, attack) == "test":
        return "test images (also used for validation)" if validates else _TEST
    return validation_text(recipes[0].config)


def validation_text(config: TrialConfig) -> str:
    """Return the name of the validation images, with the papers' protocol if it was followed."""
    if config.data.val_source == "test":
        return "test images (also used for validation)"
    return "validation images"
