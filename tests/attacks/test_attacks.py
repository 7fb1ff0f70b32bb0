"""What importing the attacks costs."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_attacks_does_not_import_autoattack() -> None:
    code = "import sys, ltat_tune.attacks; sys.exit('pyautoattack' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
