"""The notebook that shows the package, run from its first cell to its last."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "scripts" / "tour.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Its code cells, with what they gave."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Jupyter's, of folders and event loops
        import nbformat
        from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        class ThisPython(KernelSpecManager):
            def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
                argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
                return KernelSpec(argv=argv, display_name="tests", language="python")

        class Manager(AsyncKernelManager):
            def _kernel_spec_manager_default(self) -> KernelSpecManager:
                return ThisPython()

        notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
        _replace(notebook, "study.resume(trials=5)\n", "study.resume(trials=5, in_process=True)\n")
        # a notebook's process with Ray in it: api/test_study.py
        _replace(notebook, 'out="studies").run()\n', 'out="studies").run(in_process=True)\n')
        folder = tmp_path_factory.mktemp("tour")
        client = NotebookClient(
            notebook, timeout=300, kernel_manager_class=Manager,
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _replace(notebook: Any, text: str, other: str) -> None:
    """Replace what one cell has."""
    (cell,) = (cell for cell in notebook.cells if text in cell.source)
    cell.source = cell.source.replace(text, other)


def _text(cell: Any) -> str:
    return "".join(
        out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs
    )


def test_every_cell_runs_and_says_what_its_text_promises(ran: list[Any]) -> None:
    file, wrong, table, best, attacked, alone, more = map(_text, ran)
    assert file == ""
    assert "did you mean method.separation_weight" in wrong or "unknown" in wrong
    assert "separation_weight" in table and table.count("complete") >= 1
    assert re.search(r"test/pgd3_acc +\d+\.\d ± \d+\.\d %", best)
    assert re.search(r"cw20 +\d+\.\d % \(\d+-\d+\)", attacked)
    assert re.match(r"1 \d+\.\d s\n2 \d+\.\d s\n3 \d+\.\d s\n0\.\d+", alone)
    assert more == "5"


def test_nothing_is_printed_but_what_a_cell_prints(ran: list[Any]) -> None:
    streams = [out for cell in ran for out in cell.outputs if out.output_type == "stream"]
    assert [out.text for out in streams if out.name == "stderr"] == []
    told = [{out.get("name", out.output_type) for out in cell.outputs} for cell in ran]
    told_by_print, value = {"stdout"}, {"execute_result"}
    assert told == [
        set(), told_by_print, value, told_by_print | value, told_by_print,
        told_by_print | value, value,
    ]  # fmt: skip


def test_it_is_kept_without_outputs() -> None:
    import json

    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells)
    assert all(cell.get("execution_count") is None for cell in cells)
