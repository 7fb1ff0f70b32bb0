"""Tables as text for other programs."""

from __future__ import annotations

from ltat_tune.presentation.text_tables import command_lines, csv_text


def test_no_cell_of_text_is_a_formula_and_numbers_stay_numbers() -> None:
    rows = [{"a": "=HYPERLINK(1)", "b": -1.5, "c": "-"}, {"a": "@x", "b": 2, "c": "+x"}]
    assert csv_text(rows) == "a,b,c\n'=HYPERLINK(1),-1.5,-\n'@x,2,'+x\n"
    # a scenario, a metric or a class may head a column
    head = [{"=1+2": 1, "+x": "", "-x": "", "@x": "", "-": "", "x=1": ""}]
    assert csv_text(head) == "'=1+2,'+x,'-x,'@x,-,x=1\n1,,,,,\n"


def test_a_command_stays_whole_in_a_narrow_terminal() -> None:
    commands = [("ltat-tune show x", "short"), ("ltat-tune compare quickstart", "all the tables")]
    assert command_lines(commands, 40) == [
        "  ltat-tune show x   # short",
        "  # all the tables",
        "  ltat-tune compare quickstart",
    ]
    assert len(command_lines(commands, 80)) == 2
