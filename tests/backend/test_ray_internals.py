"""Private names of Ray that backend/ray_internals.py uses: what breaks when they move."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ray._private import ray_constants
from ray._private.authentication import authentication_utils
from ray._private.node import Node
from ray.tune.execution import class_cache
from ray.tune.experiment.trial import Trial

from ltat_tune.backend import ray_internals


@pytest.mark.parametrize("name", ray_internals.UNNEEDED)
def test_the_processes_that_serve_nobody_can_be_left_out(name: str) -> None:
    assert callable(getattr(Node, name, None)), f"Node.{name} is gone: Ray's start takes longer"


def test_they_are_left_out_only_meanwhile() -> None:
    before = [getattr(Node, name) for name in ray_internals.UNNEEDED]
    with ray_internals.few_processes():
        inside = [getattr(Node, name) for name in ray_internals.UNNEEDED]
        assert not set(map(id, inside)) & set(map(id, before))
    assert [getattr(Node, name) for name in ray_internals.UNNEEDED] == before


def test_ray_can_be_kept_to_loopback_after_it_was_imported() -> None:
    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool), (
        "ENABLE_RAY_CLUSTER is gone: a study's servers may listen on every interface"
    )


def test_tune_reads_its_workers_environment_where_it_is_emptied() -> None:
    for name in ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE"):
        assert hasattr(class_cache, name), f"{name} is gone: workers import everything twice"
    with ray_internals.no_worker_environment():
        assert (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE) == ({}, set())


def test_a_node_can_say_whether_it_asks_for_tokens() -> None:
    assert callable(authentication_utils.is_token_auth_enabled), (
        "is_token_auth_enabled is gone: a cluster without tokens is joined without a warning"
    )


def test_a_trial_knows_its_actor() -> None:
    trial = Trial("any", stub=True)
    assert hasattr(trial.temporary_state, "ray_actor"), "a worker that hangs cannot be killed"


def test_a_ray_that_was_imported_before_reads_the_environment_again() -> None:
    code = (
        "import os, ray\n"
        "from ray._raylet import AuthenticationMode, get_authentication_mode\n"
        "assert get_authentication_mode() != AuthenticationMode.TOKEN\n"
        "os.environ['RAY_AUTH_MODE'] = 'token'\n"
        "from ltat_tune.backend.ray_internals import reread_environment\n"
        "reread_environment()\n"
        "assert get_authentication_mode() == AuthenticationMode.TOKEN\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"a notebook that imports Ray before a study is not let into its Ray: {done.stderr}"
    )
