"""The command line. Results on stdout, progress and messages on stderr.

Exit status: 0 done, 1 the work failed, 2 bad input (nothing started), 130 interrupted (resumable).
Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from ltat_tune.cli.comparing import compare
from ltat_tune.cli.data import prepare
from ltat_tune.cli.doctor import doctor
from ltat_tune.cli.evaluate import evaluate
from ltat_tune.cli.export import export
from ltat_tune.cli.figures import figures
from ltat_tune.cli.listings import ls, params, version
from ltat_tune.cli.planning import plan
from ltat_tune.cli.report import report
from ltat_tune.cli.studies import main, resume
from ltat_tune.cli.training import train
from ltat_tune.cli.trials import logs, show
from ltat_tune.cli.ui import ui
from ltat_tune.cli.upkeep import gc, rm

__all__ = ["main"]

for _command in (
    resume, plan, ui, report, compare, show, logs, export, figures, train, evaluate, prepare,
    params, ls, rm, gc, doctor, version,
):  # fmt: skip
    main.add_command(_command)
