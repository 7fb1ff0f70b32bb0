"""The one parser of numbers: what people write, and what is said of the rest."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml

from ltat_tune.config.scalars import parse_integer, parse_number, parse_ratio, shown


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.5/4", 0.125),
        (".5/2", 0.25),
        (0.031, 0.031),
        (3, 3.0),
        (-2.5, -2.5),
        (0, 0.0),
    ],
)
def test_numbers_and_fractions_are_read(written: Any, number: float) -> None:
    parsed = parse_number(written)
    assert parsed == number
    assert type(parsed) is float


def test_0_031_is_not_taken_for_8_of_255() -> None:
    assert parse_number(0.031) != parse_number("8/255")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (True, "must be a number, got true"),
        (False, "must be a number, got false"),
        (None, "must be a number or a fraction such as 8/255, got null"),
        ("fast", "must be a number or a fraction such as 8/255, got 'fast'"),
        ("0.1", "must be a number or a fraction such as 8/255, got '0.1'"),
        ("-8/255", "must be a number or a fraction such as 8/255, got '-8/255'"),
        ("1/2/3", "must be a number or a fraction such as 8/255, got '1/2/3'"),
        ("exit()", "must be a number or a fraction such as 8/255, got 'exit()'"),
        ([1], "must be a number or a fraction such as 8/255, got [1]"),
        ({"a": 1}, "must be a number or a fraction such as 8/255, got {'a': 1}"),
        ("8/0", "must not divide by zero, got '8/0'"),
        ("0/0.0", "must not divide by zero, got '0/0.0'"),
        (float("nan"), "must be a finite number, got nan"),
        (float("inf"), "must be a finite number, got inf"),
        (10**400, f"must be a finite number, got 1{'0' * 76}..."),
        (f"{'9' * 400}/3", f"must be a finite number, got '{'9' * 76}..."),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_value(written: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_number(written)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("1e-3", "1.0e-3"),
        ("5E-4", "5.0e-4"),
        ("1e3", "1.0e+3"),
        ("1.5e3", "1.5e+3"),
        ("-2e+1", "-2.0e+1"),
    ],
)
def test_an_exponent_that_yaml_reads_as_text_is_spelled_out(written: str, spelled: str) -> None:
    assert yaml.safe_load(written) == written
    with pytest.raises(ValueError) as caught:
        parse_number(written)
    message = f"must be a number, but YAML 1.1 reads {written} as text; write {spelled}"
    assert str(caught.value) == message
    assert yaml.safe_load(spelled) == float(written)


@pytest.mark.parametrize(("written", "number"), [(3, 3), (3.0, 3), (-1, -1), (10**18, 10**18)])
def test_whole_numbers_are_read(written: Any, number: int) -> None:
    parsed = parse_integer(written)
    assert parsed == number
    assert type(parsed) is int


@pytest.mark.parametrize(
    ("written", "shown_as"),
    [
        (True, "true"),
        (2.5, "2.5"),
        ("3", "'3'"),
        ("8/255", "'8/255'"),
        (None, "null"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ([3], "[3]"),
        (10**400, f"1{'0' * 76}..."),
    ],
)
def test_what_is_no_whole_number_is_refused(written: Any, shown_as: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_integer(written)
    assert str(caught.value) == f"must be a whole number, got {shown_as}"


@pytest.mark.parametrize(("written", "meant"), [(0.02, "50"), (0.1, "10"), ("1/3", "3")])
def test_a_ratio_below_1_offers_its_inverse(written: Any, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"must be >= 1, got .*; did you mean {meant}\?$"):
        parse_ratio(written)


def test_ratios_from_1_on_are_read_and_those_without_inverse_are_left_to_the_bound() -> None:
    assert (parse_ratio(1), parse_ratio("100/2"), parse_ratio(0)) == (1.0, 50.0, 0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("x", "'x'"),
        (2.0, "2"),
        (0.1, "0.1"),
        (1e20, "1e+20"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ("x" * 200, f"'{'x' * 76}..."),
    ],
)
def test_messages_show_values_as_yaml_writes_them(value: Any, text: str) -> None:
    assert shown(value) == text
