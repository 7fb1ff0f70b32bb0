"""The only module that uses private names of Ray (2.60), where its public interface is not enough.

tests/backend/test_ray_internals.py shows what breaks when one of them changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

# A web server without pages, an autoscaler for one machine, and a reader of logs that are not
# shown: Ray starts them and waits for them, but a study does not use them.
UNNEEDED = ("start_api_server", "start_monitor", "start_log_monitor")


def reread_environment() -> None:
    """Make Ray read RAY_AUTH_MODE and its other settings again, if it was imported before.

    A process that imported Ray earlier, such as a notebook, would else talk without a token to
    servers that ask for one.
    """
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")


def set_reachable(reachable: bool) -> None:
    """Let Ray's servers listen beyond loopback, or not, where Ray was imported before."""
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = reachable  # read from the environment at import


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Start Ray without the processes that are `UNNEEDED`.

    They are a third of the cost of starting Ray, and Ray has no option for it. A Ray whose methods
    have other names starts them.
    """
    from ray._private.node import Node

    methods = {name: getattr(Node, name) for name in UNNEEDED if hasattr(Node, name)}
    try:
        for name in methods:
            setattr(Node, name, _nothing)
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def _nothing(*arguments: Any, **options: Any) -> None:
    pass


@contextlib.contextmanager
def no_worker_environment() -> Iterator[None]:
    """Let Tune ask for no environment variables by name, so that it takes idle workers."""
    from ray.tune.execution import class_cache

    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = before


def asks_for_tokens() -> bool:
    """Return whether this process's Ray refuses everybody without its token."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())


def own_processes() -> dict[str, Any]:
    """Return the processes without which this process's own Ray stands still: name -> Popen."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    known = getattr(node, "all_processes", {})
    return {
        kind.replace("_", " "): infos[0].process
        for kind, infos in known.items()
        if infos and kind in ("raylet", "gcs_server")
    }


def family(parents: Iterable[int]) -> list[Any]:
    """Return the processes that some started, and theirs: psutil's, which Ray brings along."""
    import ray  # noqa: F401  it puts psutil on the path
    import psutil  # type: ignore[import-untyped,unused-ignore]  # isort: skip

    found: list[Any] = []
    for parent in parents:
        with contextlib.suppress(psutil.Error):  # it ended
            found += [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]
    return found


def actor_of(trial: Any) -> Any:
    """Return the actor that runs one of Tune's trials now."""
    return trial.temporary_state.ray_actor
