"""Trials in a real browser: opened, sorted, filtered, compared, and kept over an update."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ltat_tune.report.data import Reader
from ltat_tune.report.write import write_report
from ltat_tune.storage.folder import StudyFolder
from tests.browser import Visit, accessibility_problems
from tests.report.looks import written

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


@pytest.fixture(scope="module")
def file(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    written(reported, path)
    return path


@pytest.fixture
def page(browser: Visit, file: Path) -> Page:
    opened = browser.open(file)
    opened.wait_for_function("window.Plotly !== undefined")  # plots are drawn as they come near
    return opened


def _names(page: Page) -> list[str]:
    """The trials of the first table of all trials, as it shows them."""
    return page.locator("#trials table").first.locator("tr:visible button.open").all_inner_texts()


def _card(page: Page) -> Locator:
    return page.locator("dialog#card[open]")


def test_a_name_opens_its_trial_with_the_keyboard_and_escape_leads_back(
    page: Page, file: Path, reported: Path
) -> None:
    opener = page.locator("#trials button.open").nth(1)
    name = opener.inner_text()
    opener.focus()
    page.keyboard.press("Enter")
    card = _card(page)
    assert card.locator("h2").inner_text().startswith(name)
    assert page.evaluate("document.activeElement.id") == "card-title"
    for caption in ("Parameters", "How it went"):
        assert card.locator("caption", has_text=caption).is_visible()
    assert card.get_by_role("row", name="optim.lr").locator("td").inner_text() != "–"
    assert card.locator(".main-svg").count() >= 1
    config = card.get_by_role("link", name="config.yaml")
    link = config.get_attribute("href")
    assert link is not None
    assert (
        file.parent / link
    ).resolve() == reported / f"trials/imbalance_ratio_2/{name}/config.yaml"
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert page.evaluate("document.activeElement.textContent") == name


def test_a_trial_that_was_stopped_says_why(page: Page, reported: Path) -> None:
    data = Reader(StudyFolder.open(reported)).read()
    stopped = next(row for scene in data.scenes for row in scene.rows if row.state == "pruned")
    page.locator(f"#trials tr[data-trial='{stopped.name}']").locator("td").first.click()
    assert f"Why it was stopped: {stopped.cause}" in _card(page).inner_text()


def test_a_point_of_a_plot_opens_its_trial(page: Page) -> None:
    page.locator("#trade-off .plot").first.scroll_into_view_if_needed()
    point = page.locator("#trade-off .plot").first.locator(".scatterlayer .point").first
    point.wait_for()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#trade-off .hoverlayer .hovertext", state="attached")
    page.mouse.down()
    page.mouse.up()
    _card(page).wait_for()
    assert page.evaluate("document.activeElement.id") == "card-title"


def test_a_title_sorts_and_says_so_and_what_is_missing_stands_last(page: Page) -> None:
    table = page.locator("#trials table").first
    score = table.get_by_role("columnheader", name="score")
    shown: list[list[float]] = []
    for order in ("descending", "ascending"):
        score.locator("button").click()
        assert score.get_attribute("aria-sort") == order
        texts = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
        numbers = [text for text in texts if text != "–"]
        assert texts == numbers + ["–"] * (len(texts) - len(numbers))
        shown.append([float(text) for text in numbers])
    assert shown[0] == sorted(shown[0], reverse=True) and shown[1] == sorted(shown[1])


def test_words_and_how_a_trial_ended_filter_and_the_count_is_told(page: Page) -> None:
    every = _names(page)
    page.get_by_role("searchbox", name="Trials with").fill("method.name=srat")
    srat = _names(page)
    assert 0 < len(srat) < len(every)
    page.get_by_label("that ended").select_option("stopped early")
    both = _names(page)
    assert set(both) < set(srat)
    told = page.locator("#trials .filter [role=status]").inner_text()
    shown = page.locator("#trials tbody tr:visible").count()
    assert told == f"{shown} of 16 trials"


def test_two_pinned_trials_are_compared_and_their_differences_marked(page: Page) -> None:
    pins = page.locator("#trials button.pin")
    for place in (0, 1, 2):  # of three, the last two stay
        pins.nth(place).click()
    assert [pins.nth(i).get_attribute("aria-pressed") for i in range(3)] == [
        "false", "true", "true",
    ]  # fmt: skip
    page.get_by_role("button", name="Compare", exact=True).click()
    card = _card(page)
    row = card.get_by_role("row", name="optim.lr")
    values = row.locator("td").all_inner_texts()
    assert len(set(values)) == 2
    assert row.locator("th").inner_text().endswith("(differs)")
    assert accessibility_problems(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier_in_an_open_trial(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.locator("#trials button.pin").first.click()
    page.locator("#trials button.open").first.click()
    assert accessibility_problems(page) == []


def test_an_update_keeps_pins_filter_and_order_and_waits_for_an_open_trial(
    browser: Visit, reported: Path, tmp_path: Path
) -> None:
    file = tmp_path / "live.html"
    write_report(Reader(StudyFolder.open(reported)), file, refresh_s=1)
    page = browser.open(file)
    page.wait_for_selector("#live button")
    page.locator("#trials button.pin").first.click()
    page.get_by_role("searchbox", name="Trials with").fill("pgd_at")
    page.locator("#trials th", has_text="epochs").first.locator("button").click()
    order = _names(page)
    page.locator("#trials button.open:visible").first.click()
    page.evaluate("window.before = true")
    page.wait_for_timeout(2500)
    assert page.evaluate("window.before") is True  # nobody is torn out of what they read
    page.keyboard.press("Escape")
    page.wait_for_function("window.before === undefined")
    page.wait_for_selector("#pinned:not([hidden])")
    assert page.get_by_role("searchbox", name="Trials with").input_value() == "pgd_at"
    assert _names(page) == order
    page.get_by_role("button", name="Pause updates").click()
    page.evaluate("window.before = true")
    page.wait_for_timeout(2500)
    assert page.evaluate("window.before") is True
    assert accessibility_problems(page) == []
    assert browser.errors == []
