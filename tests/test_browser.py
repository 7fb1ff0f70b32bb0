"""The browser itself: that it sees requests, errors and what axe-core would object to."""

from __future__ import annotations

from pathlib import Path

from tests.browser import Visit, accessibility_problems

_BAD = """<!doctype html><title>bad</title><img src="missing.png">
<script>console.error("said"); throw new Error("thrown")</script>"""


def test_a_pages_requests_errors_and_faults_are_seen(browser: Visit, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(_BAD)
    page = browser.open(file)
    assert browser.requests == [file.as_uri(), (tmp_path / "missing.png").as_uri()]
    assert "said" in browser.errors
    assert "thrown" in browser.errors
    rules = {problem.partition(":")[0] for problem in accessibility_problems(page)}
    assert {"image-alt", "html-has-lang"} <= rules


def test_each_test_starts_with_nothing_seen(browser: Visit, tmp_path: Path) -> None:
    file = tmp_path / "good.html"
    file.write_text('<!doctype html><html lang="en"><title>good</title><main><h1>x</h1></main>')
    page = browser.open(file)
    assert browser.requests == [file.as_uri()]
    assert browser.errors == []
    assert accessibility_problems(page) == []
