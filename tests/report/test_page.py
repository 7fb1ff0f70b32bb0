"""The report in a real browser: from disk, with keys, in the dark, on paper, for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ltat_tune.report.blocks import PageSection, table
from ltat_tune.report.data import Reader
from ltat_tune.report.page import page as page_of
from ltat_tune.storage.folder import StudyFolder
from tests.browser import Visit, accessibility_problems
from tests.report.looks import written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_DRAWN = "html[data-plots=drawn]"


@pytest.fixture(scope="module")
def file(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    written(reported, path)
    return path


def _open(browser: Visit, file: Path) -> Page:
    page = browser.open(file)
    page.wait_for_selector(_DRAWN, state="attached")
    return page


def test_it_opens_from_disk_draws_every_plot_and_asks_nothing_of_the_network(
    browser: Visit, file: Path
) -> None:
    page = _open(browser, file)
    assert browser.requests == [file.as_uri()]
    assert browser.errors == []
    count = page.locator(".plot").count()
    assert count >= 14
    assert page.locator(".plot .main-svg").count() >= count
    assert page.locator(".plot.failed").count() == 0
    assert page.locator("h2").first.inner_text() == "Verdict"
    assert not page.locator("#no-scripts").is_visible()


def test_the_winners_of_two_scenarios_under_three_attacks_fit_and_no_attack_is_broken(
    browser: Visit, reported: Path, tmp_path: Path
) -> None:
    head = ["scenario", "", "method", "val PGD-20 balanced", "test clean", "test PGD-20",
            "test AutoAttack", "seeds"]  # fmt: skip
    names = ("imbalance ratio 10", "imbalance ratio 50 (52 reached)")
    rows = [[name, f"{role} t0009", "PGD-AT (BSL)", *["67.9 ± 2.5"] * 4, "3"]
            for name in names for role in ("winner", "baseline")]  # fmt: skip
    section = PageSection("winners", "Winners", (table("Accuracy.", head, rows, text=3),))
    file = tmp_path / "winners.html"
    file.write_text(page_of(Reader(StudyFolder.open(reported)).read(), [section], []))
    page = browser.open(file)
    page.set_viewport_size({"width": 1200, "height": 900})
    widths = page.evaluate(
        "() => ['scrollWidth', 'clientWidth'].map(w => document.querySelector('.scroll')[w])"
    )
    assert widths[0] <= widths[1]
    lines = page.evaluate(
        "() => [...document.querySelectorAll('thead .whole')]"
        ".map(e => [e.textContent, e.getClientRects().length])"
    )
    assert lines == [["PGD-20", 1], ["PGD-20", 1]]


def test_plots_answer_to_the_mouse(browser: Visit, file: Path) -> None:
    page = _open(browser, file)
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".bars .point").first.hover(force=True)
    page.wait_for_selector(".hoverlayer .hovertext", state="attached")


def test_axe_finds_no_serious_barrier_in_the_light_or_in_the_dark(
    browser: Visit, file: Path
) -> None:
    page = _open(browser, file)
    assert accessibility_problems(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    assert accessibility_problems(page) == []


def test_the_keyboard_reaches_the_contents_the_tables_and_what_is_folded(
    browser: Visit, file: Path
) -> None:
    page = _open(browser, file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("nav a", has_text="Costs").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#costs"
    folded = page.locator("details").first
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert folded.locator("table").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"


def test_plots_are_legible_on_dark_paper_and_change_with_it(browser: Visit, file: Path) -> None:
    page = _open(browser, file)
    colour = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    assert page.evaluate(colour) == "rgb(27, 29, 33)"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{colour} === 'rgb(231, 233, 236)'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"


def test_it_prints_on_light_paper_on_few_pages_with_what_is_folded(
    browser: Visit, file: Path, tmp_path: Path
) -> None:
    page = _open(browser, file)
    page.emulate_media(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    widths = page.evaluate(
        "[...document.querySelectorAll('.plot .main-svg')].map((s) => s.clientWidth)"
    )
    assert max(widths) <= 670
    folded = "[...document.querySelectorAll('details')].filter((d) => !d.open).length"
    assert page.evaluate(folded) == 0  # paper cannot be unfolded
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == page.locator("details").count()
    printed = page.pdf(prefer_css_page_size=True, format="A4")
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 8


def test_a_phone_scrolls_tables_and_plots_but_not_the_page(chromium: Browser, file: Path) -> None:
    context = chromium.new_context(viewport={"width": 375, "height": 700})
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector(_DRAWN, state="attached", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    hidden = page.evaluate(
        "[...document.querySelectorAll('table.many td.number')]"
        ".filter((cell) => cell.getBoundingClientRect().right > 375).length"
    )
    assert hidden == 0  # every number of a wide table is there without scrolling
    unsaid = page.evaluate(
        "[...document.querySelectorAll('.scroll, .plot-frame')]"
        ".filter((f) => f.scrollWidth > f.clientWidth + 2 && !f.classList.contains('wide')).length"
    )
    assert unsaid == 0
    context.close()


def test_without_scripts_every_number_is_still_there(chromium: Browser, file: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.get_by_text("Plots need JavaScript; every number").is_visible()
    assert page.locator("table").count() > 20
    context.close()
