"""`ltat-tune ui` in a real browser: MLflow's pages and Optuna's dashboard over a study."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser import Visit
from tests.drive import call, command, descendants


@contextlib.contextmanager
def shown(
    *arguments: str, cwd: Path, first: Callable[[], None] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`ltat-tune ui` under way, and the address that it printed."""
    with open(cwd / "ui-stderr.txt", "w") as log:
        process = subprocess.Popen(
            command("ui", *arguments, "--no-browser"), cwd=cwd, stdout=subprocess.PIPE,
            stderr=log, text=True, start_new_session=True, preexec_fn=first,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (cwd / "ui-stderr.txt").read_text()
        yield address, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def pages(small_study: Path) -> Iterator[str]:
    """The address of MLflow's runs page of the study."""
    with shown(cwd=small_study.parent.parent) as (address, _):
        yield address


def test_the_runs_table_shows_what_was_searched_and_what_came_of_it(
    pages: str, browser: Visit
) -> None:
    page = browser.open(pages)
    page.set_viewport_size({"width": 2600, "height": 1300})  # columns out of sight are not made
    page.get_by_text("matching runs").wait_for()
    for column in (
        "kind",
        "scenario",
        "state",
        "final/pgd3_balanced_acc",
        "optim.lr",
        "loss.name",
    ):
        page.locator(".ag-header-cell", has_text=column).first.wait_for()
    for text in ("t0001 seed 1 imbalance_ratio_2", "confirmation", "digits exp 2"):
        page.get_by_text(text).first.wait_for()
    page.get_by_text("You're viewing a shared view").first.wait_for()
    page.get_by_text("adversarial training on long-tailed data").first.wait_for()
    assert all(url.startswith("http://127.0.0.1:") for url in browser.requests)


def test_the_charts_open_with_parallel_coordinates_and_the_curves(
    pages: str, browser: Visit
) -> None:
    page = browser.open(f"{pages}&compareRunsMode=CHART")
    page.set_viewport_size({"width": 2600, "height": 1300})
    page.get_by_text("The search", exact=True).first.wait_for()
    page.get_by_text("Parallel Coordinates").first.wait_for()
    for title in ("val/pgd3_balanced_acc", "train/loss", "optim.lr vs. final/pgd3_balanced_acc"):
        page.get_by_text(title, exact=True).locator("visible=true").first.wait_for()


def test_the_studys_own_run_has_the_results_as_its_description(
    pages: str, browser: Visit, small_study: Path
) -> None:
    from tests.drive import mlflow_runs

    runs = mlflow_runs(small_study)
    (whole,) = (found for found in runs if found.data.tags["kind"] == "study")
    server, _, rest = pages.partition("/#/experiments/")
    page = browser.open(
        f"{server}/#/experiments/{rest.partition('/')[0]}/runs/{whole.info.run_id}"
    )
    page.get_by_role("cell", name="test/pgd3_balanced_acc").first.wait_for()
    page.get_by_text("epochs saved.").first.wait_for()


def test_chosen_runs_are_compared(pages: str, browser: Visit, small_study: Path) -> None:
    from tests.drive import mlflow_runs

    runs = [r for r in mlflow_runs(small_study) if r.data.tags["kind"] == "confirmation"]
    chosen = ",".join(f'"{found.info.run_id}"' for found in runs)
    server, _, rest = pages.partition("/#/experiments/")
    number = rest.partition("/")[0]
    page = browser.open(f'{server}/#/compare-runs?runs=[{chosen}]&experiments=["{number}"]')
    page.get_by_text(f"Comparing {len(runs)} Runs").first.wait_for()
    page.get_by_text("Parallel Coordinates Plot").first.wait_for()


def test_ctrl_c_ends_the_server_and_all_its_processes(small_study: Path) -> None:
    with shown("mini", cwd=small_study.parent.parent) as (address, process):
        children = [pid for pid, _ in descendants(process.pid)]
        assert children
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address.partition("/#")[0], timeout=5)


def test_nohup_keeps_the_pages_when_the_terminal_closes(small_study: Path) -> None:
    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with shown("mini", cwd=small_study.parent.parent, first=as_nohup) as (address, process):
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert urllib.request.urlopen(address.partition("/#")[0], timeout=20).status == 200


def test_optunas_dashboard_shows_the_trials_and_changes_nothing(
    small_study: Path, browser: Visit
) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra dashboard is not installed")
    before = (small_study / "ledger.journal").read_bytes()
    with shown("mini", "--optuna", cwd=small_study.parent.parent) as (address, _):
        page = browser.open(address)
        page.get_by_text("imbalance_ratio_4").first.click()
        page.get_by_text("Hyperparameter Importance").first.wait_for()
        page.get_by_text("val/pgd3_balanced_acc").first.wait_for()
        server = address.removesuffix("/dashboard")
        request = urllib.request.Request(
            f"{server}/api/studies/0/note", b'{"body": "x", "version": 1}',
            {"Content-Type": "application/json"}, method="PUT",
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10)
    assert (small_study / "ledger.journal").read_bytes() == before


def test_a_taken_port_and_a_missing_study_are_named(small_study: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for more in ((), ("--optuna",)):
            done = call("ui", "mini", "--port", port, *more, cwd=small_study.parent.parent)
            assert done.returncode != 0
            assert f"cannot listen on port {port}: Address already in use" in done.stderr
            assert "leave out --port" in done.stderr
    done = call("ui", cwd=tmp_path)
    assert done.returncode == 2
    assert "no studies in studies; start one, or name their folder with --out" in done.stderr


def test_without_the_extra_the_dashboard_says_how_to_install_it(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from ltat_tune.errors import StudyError
    from ltat_tune.storage.dashboard import dashboard
    from ltat_tune.storage.folder import StudyFolder

    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with (
        pytest.raises(StudyError, match=r"pip install 'ltat-tune\[dashboard\]'"),
        dashboard(StudyFolder(small_study), ("val/pgd3_balanced_acc",), 0),
    ):
        pass


def test_a_study_on_a_tracking_server_is_looked_at_there(
    small_study: Path, tmp_path: Path
) -> None:
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.tracking.ui_server import serving

    with serving(f"sqlite:///{small_study / 'mlflow.db'}") as server:
        for name in ("mini", "other"):
            copied = StudyFolder(tmp_path / "studies" / name)
            shutil.copytree(small_study, copied.root)
            copied.write_facts({**copied.read_facts(), "tracking_uri": server})
        done = call("ui", "mini", "--no-browser", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(
            rf"{server}/#/experiments/\d+/runs\?workflowType=machine_learning"
            r"&viewStateShareKey=ltat-tune\n",
            done.stdout,
        )
        assert call("ui", cwd=tmp_path).stdout == f"{server}/#/experiments\n"
        renamed = call("ui", "other", "--no-browser", cwd=tmp_path)
        assert renamed.stdout == done.stdout  # found by its id, whatever the folder is called
        other = StudyFolder(tmp_path / "studies" / "other")
        other.write_facts({**other.read_facts(), "uid": "elsewhere"})
        done = call("ui", "other", cwd=tmp_path)
        assert done.returncode == 2
        assert f"{server} has no runs of study mini (elsewhere) yet" in done.stderr
