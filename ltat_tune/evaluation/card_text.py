"""Shows cards in the terminal, in percent."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from ltat_tune.evaluation.card import WORST_CASE, fraction_text
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.units import percent
from ltat_tune.results.wording import mean_std

_GROUPS = ("head_acc", "body_acc", "tail_acc", "worst_acc")
_GROUP_TITLES = ("head", "body", "tail", "worst")


def card_text(card: Mapping[str, Any]) -> Group:
    """Return the card for the terminal; ends of intervals have no decimals."""
    model, rows = card["model"], card["rows"]
    text = Text(f"{model['name']}: {model['method']}, {model['loss']}, weights {model['weights']}")
    if soup := card["model"].get("soup"):
        text.append(f"\nsoup of {soup}: one training seed, chosen on the validation images")
    if card["selected_on_test"]:
        text.append("\nselected_on_test: validation images were the test images", style="red")
    many_scales = len({row["scale"] for row in rows}) > 1
    chained = card["mode"] == "worst_case"
    table = _table("after attack" if chained else "attack", many_scales, "acc (95 %)", "ECE")
    for row in _all_rows(card):
        ece = percent(row["ece"], 0) if "ece" in row else "-"
        table.add_row(*_setting(row, many_scales), *_cells(row), ece)
    if not card.get("arithmetic", "cpu").startswith("cpu"):  # of a CPU there is one kind
        text.append(f"\ncomputed on {card['arithmetic']}")
    parts: list[Text | PlainTable] = [text, Text(_attacked_text(card)), table]
    if chained:
        parts.append(Text(WORST_CASE))
    for report in card["sentinel"]:
        at = f" at scale {report['scale']:g}" if many_scales else ""
        parts.append(Text(f"gradient masking{at}: {report['headline']}"))
        parts += [Text(f"  {c['sentence']}") for c in report["checks"] if c["triggered"]]
    parts.append(Text(f"again: {card['command']}", "dim"))
    return Group(*parts)


def table_rows(cards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each model and attack, with every number that was measured."""
    named = ("attack", "eps", "norm", "scale", "step_size", "seed", "images")
    return [
        {"model": card["model"]["name"], "weights": card["model"]["weights"],
         "split": card["data"]["split"], **{name: row[name] for name in named}, **row["numbers"]}
        for card in cards for row in card["rows"]
    ]  # fmt: skip


def over_seeds_text(block: Mapping[str, Any]) -> Group:
    """Return the numbers of one configuration over its seeds, from `over_seeds`."""
    rows = block["rows"]
    many_scales = len({row["scale"] for row in rows}) > 1
    chained = any(row["after"] for row in rows)
    table = _table("after attack" if chained else "attack", many_scales, "acc")
    for row in rows:
        cells = [mean_std(row["values"][name]) if name in row["values"] else "-"
                 for name in ("acc", "balanced_acc", *_GROUPS)]  # fmt: skip
        table.add_row(*_setting(row, many_scales), str(row["images"]), *cells)
    seeds = ", ".join(map(str, block["seeds"]))
    return Group(Text(f"{block['name']}: {block['heading']} ({seeds}), %", "bold"), table)


def _table(first: str, many_scales: bool, acc: str, *more: str) -> PlainTable:
    table = PlainTable(collapse_padding=True)
    scale = ["scale"] if many_scales else []
    for title in (first, "eps", *scale, "images", acc, "balanced", *_GROUP_TITLES, *more):
        table.add_column(title, justify="left" if title == first else "right")
    return table


def _setting(row: Mapping[str, Any], many_scales: bool) -> list[str]:
    """Return the cells of the attack, its radius and, if there are several, the scale."""
    name = f"+ {row['attack']}" if row["after"] else row["attack"]
    eps = "-" if row["attack"] == "clean" else fraction_text(row["eps"])
    return [name, eps, *([f"{row['scale']:g}"] if many_scales else [])]


def _attacked_text(card: Mapping[str, Any]) -> str:
    """Return the split, its size and what of it was measured: `digits test, 50 of 400 images`."""
    data, rows = card["data"], card["rows"]
    whole = data["split_images"]
    most = max(row["images"] for row in rows)
    images = f"{whole} images" if most == whole else f"{most} of {whole} images"
    fewer: dict[int, list[str]] = {}
    for row in rows:
        names = fewer.setdefault(row["images"], [])
        if row["attack"] not in names:
            names.append(row["attack"])
    listed = [f"{' and '.join(names)} on {n} of them" for n, names in fewer.items() if n < most]
    norms = " and ".join(sorted({row["norm"] for row in rows}))
    return ", ".join([f"{data['name']} {data['split']}", images, *listed, norms, "%"])


def _cells(row: Mapping[str, Any]) -> list[str]:
    numbers = row["numbers"]
    cells = [str(row["images"])]
    for name in ("acc", "balanced_acc"):
        ends = row["intervals"][name]
        span = f"({percent(ends['low'], 0)}-{percent(ends['high'], 0)})"
        cells.append(f"{percent(numbers[name])} {span}")
    return cells + [percent(numbers[n]) if n in numbers else "-" for n in _GROUPS]


def over_seeds(cards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the numbers of each configuration whose model was measured with several seeds.

    Each has the keys name, heading, seeds and rows. A row has the setting of its attack (attack,
    after, scale, eps, norm), the images, and by number the values over the seeds, their mean and
    their sample standard deviation (values, mean, std).
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for card in cards:
        model = card["model"]
        place = str(Path(model["checkpoint"]).resolve().parents[1])
        groups.setdefault((place, model["recipe"]), []).append(card)
    blocks = []
    for group in groups.values():
        seeds = [card["model"]["training_seed"] for card in group]
        if len(group) < 2 or len(set(seeds)) < len(group):
            continue
        name = group[0]["model"]["name"].removesuffix(f"-seed{seeds[0]}")
        heading = f"mean ± standard deviation over {len(seeds)} seeds"
        alike = zip(*(_all_rows(card) for card in group), strict=True)
        rows = [_over(same) for same in alike]
        blocks.append({"name": name, "heading": heading, "seeds": seeds, "rows": rows})
    return blocks


def _all_rows(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of all attacks and those of the worst case."""
    worst = [{"attack": "worst case", "after": None, **row} for row in card["worst_case"]]
    return [*card["rows"], *worst]


def _over(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = rows[0]
    names = [n for n in first["numbers"] if all(n in row["numbers"] for row in rows)]
    values = {name: [row["numbers"][name] for row in rows] for name in names}
    return {
        **{key: first[key] for key in ("attack", "after", "scale", "eps", "norm", "images")},
        "values": values,
        "mean": {name: statistics.fmean(of_seeds) for name, of_seeds in values.items()},
        "std": {name: statistics.stdev(of_seeds) for name, of_seeds in values.items()},
    }
