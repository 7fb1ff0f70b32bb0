#!/usr/bin/env python
"""Draw the picture of the README: the head of a finished study's report.

    scripts/study && ltat-tune report quickstart
    python scripts/report_picture.py studies/quickstart/report.html

A headless Chromium, the one that is installed, opens the report and takes the picture from the
title to the end of the winners' table. The verdict is kept in the picture's metadata, where a test
compares it with the numbers in the README.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE = Path(__file__).parent / "report.png"
WIDTH, SPACE_BELOW = 1200, 24  # pixels
COLOURS = 64  # enough for text, and a third of the bytes
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",  # root, as in containers
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
)


def installed_chromium() -> str | None:
    """Return the path of the Chromium or Chrome on the PATH, if there is one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def draw(report: Path, to: Path) -> str:
    """Write the picture of a report, and return its verdict.

    Args:
        report: the file that `ltat-tune report` wrote.
        to: the PNG file to write.
    """
    from playwright.sync_api import sync_playwright

    program = installed_chromium()
    if program is None:
        raise SystemExit("error: no Chromium is installed; on Debian: apt install chromium")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        verdict = " ".join(page.locator("#verdict").inner_text().split())
        shot = _head_of(page)
        browser.close()
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Description", verdict)
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS)
    image.save(to, pnginfo=text, optimize=True)
    return verdict


def verdict_of(picture: Path) -> str:
    """Return the verdict of the study that a picture shows."""
    with Image.open(picture) as image:
        return str(image.info["Description"])


def _head_of(page: Page) -> bytes:
    """Return a PNG of the page, from its top to the end of the winners' first table."""
    table = page.locator("#winners table").first.bounding_box()
    if table is None:
        raise SystemExit("error: this report has no table of winners; is the study finished?")
    height = table["y"] + table["height"] + SPACE_BELOW
    page.set_viewport_size({"width": WIDTH, "height": round(height)})
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def main(arguments: list[str] | None = None) -> int:
    """Draw what the command line asks for, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="report.html of a finished study")
    parser.add_argument("--to", type=Path, default=PICTURE, help="the PNG file to write")
    given = parser.parse_args(arguments)
    if not given.report.is_file():
        print(
            f"error: {given.report} is missing; write it with `ltat-tune report`", file=sys.stderr
        )
        return 2
    print(draw(given.report, given.to))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
