"""Write the report as one HTML file that contains everything and needs no network."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from ltat_tune._version import __version__
from ltat_tune.report.blocks import PageSection, Plot, Text, without_empty_columns
from ltat_tune.report.data import ReportData
from ltat_tune.report.words import count, metric_name

# short words with a hyphen, and short remarks in brackets
_WHOLE = re.compile(r"((?<!\S)[^\s._-]{1,10}(?:-[^\s._-]{1,10})+|\([^()]{1,20}\))")
_JOINT = re.compile(r"(\.(?=[a-z])|_)")  # within dotted paths and names, not in numbers
_STATES = {"finished": "finished", "running": "running", "unfinished": "not finished"}


@dataclass(frozen=True)
class Cover:
    """What stands above a page's chapters.

    Attributes:
        title: the page's title.
        kicker: the kind of page, above the title.
        facts: short facts below it.
        at: when the page was written.
    """

    title: str
    kicker: str
    facts: Sequence[str]
    at: datetime


def page(
    data: ReportData,
    sections: Sequence[PageSection],
    warnings: Sequence[Text],
    *,
    cards: Mapping[str, Any] | None = None,
    refresh_s: int | None = None,
) -> str:
    """Return a study's report as the whole HTML file.

    Args:
        data: the study.
        sections: the chapters in their order.
        warnings: shown before everything else.
        cards: what `trial_cards` returns; None if no trial can be opened.
        refresh_s: seconds after which the browser loads the file again; None for never.
    """
    cover = Cover(data.space.name, "ltat-tune study report", _facts(data), data.at)
    return render_page(cover, sections, warnings, cards=cards, refresh_s=refresh_s)


def render_page(
    cover: Cover,
    sections: Sequence[PageSection],
    warnings: Sequence[Text],
    *,
    cards: Mapping[str, Any] | None = None,
    refresh_s: int | None = None,
) -> str:
    """Return the whole HTML file, as `page` does, for any chapters."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    ids = (f"plot-{number}" for number in itertools.count(1))
    template = environment.from_string(_read("template.html"))
    has_plots = cards or any(isinstance(one, Plot) for part in sections for one in part.blocks)
    return template.render(
        cover=cover,
        sections=sections,
        warnings=warnings,
        cards=_safe_json(json.dumps(cards or {}, ensure_ascii=False)),
        refresh_s=refresh_s,
        written_at=round(cover.at.timestamp()),
        version=__version__,
        written=cover.at.strftime("%Y-%m-%d %H:%M:%S %Z"),
        style=Markup(_read("style.css")),
        script=Markup(_read("page.js") + _read("trials.js")),
        bundle=Markup(_bundle()) if has_plots else "",
        next_id=lambda: next(ids),
        figure_json=_json,
        breakable=_breakable,
        filled=without_empty_columns,
    )


def _facts(data: ReportData) -> list[str]:
    trials = sum(len(scene.rows) for scene in data.scenes)
    confirmed = sum(bool(one.result.seeds) for s in data.scenes for one in s.confirmed)
    return [
        _STATES[data.state],
        count(len(data.scenes), "scenario"),
        count(trials, "trial"),
        count(confirmed, "confirmed configuration"),
        f"maximises {metric_name(data.metric)} ({data.metric})",
        f"as of {data.at:%Y-%m-%d %H:%M}",
    ]


def _breakable(text: str) -> Markup:
    """Return text that a browser may break at dots and underscores of names, not in `PGD-20`."""
    parts = []
    for place, part in enumerate(_WHOLE.split(text)):  # every second part is a match
        safe = str(escape(part))
        if place % 2:
            parts.append(f'<span class="whole">{safe}</span>')
        else:
            parts.append(_JOINT.sub(r"\1<wbr>", safe))
    return Markup(f"<span>{''.join(parts)}</span>")


def _json(figure: Figure) -> Markup:
    return _safe_json(figure.to_json())


def _safe_json(text: str) -> Markup:
    """Return JSON, escaped so that it cannot end its script element."""
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _read(name: str) -> str:
    return (resources.files("ltat_tune.report") / name).read_text(encoding="utf-8")


@cache
def _bundle() -> str:
    """Return the package's plotly.js, compressed: 4.8 MB would exceed the report's limit."""
    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode()
