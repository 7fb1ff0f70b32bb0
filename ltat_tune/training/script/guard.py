"""Runs commands one after another in a process group of their own, which ends with its owner.

It is started as a file, with the standard library alone. Standard input is a pipe from the owner:
when that closes, whatever happened to the owner, the whole group ends. The first argument is the
list of commands as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 5.0  # between SIGTERM and SIGKILL


def _end_group() -> None:
    os.killpg(0, signal.SIGTERM)
    end = time.monotonic() + GRACE_S
    while time.monotonic() < end and _others():
        time.sleep(0.05)
    os.killpg(0, signal.SIGKILL)


def _stay(number: int, frame: object) -> None:
    """Outlive the SIGTERM to the group. Commands inherit no handler, but would SIG_IGN."""


def _others() -> bool:
    """Return whether the group has processes besides this one, zombies left out."""
    own, group = os.getpid(), os.getpgrp()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            try:
                with open(f"/proc/{name}/stat") as file:
                    state, _, pgrp = file.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(pgrp) == group and state != "Z":
                return True
    return False


def _watch() -> None:
    while os.read(0, 4096):
        pass
    _end_group()


def guarded() -> int:
    """Run the commands. Return the first exit status that is not 0, negative for a signal."""
    signal.signal(signal.SIGTERM, _stay)  # here: a thread may not set it
    threading.Thread(target=_watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
    for command in json.loads(sys.argv[1]):
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            return 127
        if status:
            return status if status > 0 else 128 - status
    return 0


if __name__ == "__main__":
    sys.exit(guarded())
