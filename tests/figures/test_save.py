"""Look and files: global settings untouched, equal bytes, fonts that printers take."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from ltat_tune.figures import style
from ltat_tune.figures.save import save


def drawn() -> Figure:
    with style.look():
        fig, axes = style.paper_figure(1)
        axes[0, 0].plot([0, 1], [0, 1], label="λ")
        axes[0, 0].legend()
    return fig


@pytest.mark.parametrize(("columns", "width"), [(1, 3.35), (2, 6.9)])
def test_a_figure_is_as_wide_as_its_columns(columns: int, width: float) -> None:
    with style.look():
        fig, axes = style.paper_figure(columns, rows=2, cols=3)
    assert fig.get_size_inches().tolist() == pytest.approx([width, 4.2])
    assert axes.shape == (2, 3)
    assert not axes[0, 0].spines["top"].get_visible()


def test_global_settings_and_backend_are_as_found(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save(drawn(), tmp_path, "line")
    assert dict(matplotlib.rcParams) == before


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    one, two = save(drawn(), tmp_path / "one", "line"), save(drawn(), tmp_path / "two", "line")
    assert [path.name for path in one] == ["line.pdf", "line.png"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_pdf_has_real_fonts_and_no_date(tmp_path: Path) -> None:
    content = save(drawn(), tmp_path, "line")[0].read_bytes()
    assert b"/CIDFontType2" in content  # TrueType, type 42
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


def test_pale_is_mixed_with_white() -> None:
    assert style.pale("#000000", 0.7) == pytest.approx((0.7, 0.7, 0.7))
    assert style.pale("#ffffff", 0.7) == pytest.approx((1.0, 1.0, 1.0))
