"""The command line. It prints results on stdout, and progress and messages on stderr.

Exit status: 0 done, 1 the work failed, 2 bad input (nothing started), 130 interrupted (resumable).
Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from ltat_tune.cli.commands.compare import compare_command
from ltat_tune.cli.commands.doctor import doctor
from ltat_tune.cli.commands.evaluate import evaluate_command
from ltat_tune.cli.commands.export import export_command
from ltat_tune.cli.commands.figures import figures
from ltat_tune.cli.commands.listings import ls, params, version
from ltat_tune.cli.commands.plan import plan
from ltat_tune.cli.commands.prepare import prepare_command
from ltat_tune.cli.commands.report import leaderboard, report
from ltat_tune.cli.commands.run import main, resume, run
from ltat_tune.cli.commands.script.adopt import adopt
from ltat_tune.cli.commands.space_files import init, schema
from ltat_tune.cli.commands.train import train
from ltat_tune.cli.commands.trials import logs, show_command
from ltat_tune.cli.commands.ui import ui
from ltat_tune.cli.commands.upkeep import gc, rm

__all__ = ["main"]


for _command in (
    run, resume, init, adopt, schema, plan, ui, report, leaderboard, compare_command, show_command,
    logs, export_command, figures, train, evaluate_command, prepare_command, params, ls, rm, gc,
    doctor, version,
):  # fmt: skip
    main.add_command(_command)
