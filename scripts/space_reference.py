"""Writes the table of a space file's keys into search_spaces/README.md, from the models.

python scripts/space_reference.py            # rewrites what is between the two markers
python scripts/space_reference.py --check    # changes nothing; status 1 if it is out of date
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ltat_tune.space.reference import reference_table

README = Path(__file__).parent.parent / "search_spaces" / "README.md"
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"


def with_table(page: str) -> str:
    """Return a page with the table of today between its markers.

    Raises:
        ValueError: the page lacks a marker.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold the lines {BEGIN} and {END}")
    return f"{before}{begin}{reference_table()}{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the table. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", nargs="?", type=Path, default=README, help="Markdown file")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    options = parser.parse_args(arguments)
    page = options.page.read_text(encoding="utf-8")
    new = with_table(page)
    if options.check:
        return int(new != page)
    options.page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
