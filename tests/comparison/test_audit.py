"""Printed numbers that cannot be as printed are named, and no others of the shipped tables."""

from __future__ import annotations

from ltat_tune.comparison.audit import contradictions
from ltat_tune.comparison.published import Published, read_published


def _row(source: str, method: str, ratio: float, **scores: float) -> Published:
    cells: dict[tuple[str, str], tuple[float, float | None]] = {
        (name.partition("__")[0], name.partition("__")[2] or "all"): (mean, None)
        for name, mean in scores.items()
    }
    return Published(source, "cifar100", "exp", ratio, "resnet18", method, "ce", cells)


def test_each_rule_on_made_rows() -> None:
    assert contradictions([_row("A Table 1", "x", 10, clean=50, pgd20=20.4, aa=20.0)]) == []
    assert contradictions([_row("A Table 1", "x", 10, pgd20=20, aa=20.6)]) == [
        "A Table 1: x at ratio 10, aa prints 20.6, more than the 20 under pgd20, which is no "
        "stronger"
    ]
    (beyond,) = contradictions([_row("A Table 1", "x", 10, aa=28.9)])
    assert beyond.startswith("A Table 1: x at ratio 10, aa prints 28.9, and 28.88 is the best")
    assert contradictions([_row("A Table 1", "x", 1, aa=28.9)]) == []  # balanced
    (empty,) = contradictions([_row("A Table 1", "x", 20, aa__tail20=5)])
    assert empty.endswith("no class has fewer than 20 images: the smallest has 25")
    assert contradictions([_row("A Table 1", "x", 50, aa__tail20=5)]) == []  # 10 images


def test_one_cell_has_one_number_in_a_paper_and_about_one_in_all() -> None:
    first, again = _row("A Table 1", "x", 10, aa=10), _row("A Table 2", "x", 10, aa=10.6)
    assert contradictions([first, again]) == [
        "A Table 1: x at ratio 10, aa prints 10, and A Table 2 prints 10.6 for the same"
    ]
    assert contradictions([first, _row("B Table 2", "x", 10, aa=16.9)]) == []
    (apart,) = contradictions([first, _row("B Table 2", "x", 10, aa=17.1)])
    assert apart.endswith("B Table 2 prints 17.1 for the same, with another recipe")
    assert contradictions([first, _row("A Table 2", "y", 10, aa=20)]) == []


def test_of_the_shipped_tables_the_known_ones_are_named() -> None:
    found = contradictions(read_published())
    about = "MCAT Table 4: MCAT at ratio 100, aa prints 31.5, and "
    assert f"{about}MCAT Table 6 prints 37.5 for the same" in found
    assert any(line.startswith(f"{about}28.88 is the best ResNet-18") for line in found)
    # REAT and SRAT contradict neither themselves nor what is known
    own = [line for line in found if line.startswith(("REAT", "SRAT"))]
    assert all(line.endswith("for the same, with another recipe") for line in own)


def test_the_rows_of_the_rivals_are_shipped() -> None:
    papers = {row.paper for row in read_published()}
    assert papers == {"REAT", "SRAT", "RobustLT", "TAET", "MCAT"}
    (cell,) = (
        row.scores["aa", "all"] for row in read_published()
        if (row.source, row.method, row.ratio) == ("MCAT Table 4", "MCAT", 50)
    )  # fmt: skip
    assert cell == (32.0, None)
