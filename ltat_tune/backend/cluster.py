"""Joins an existing Ray cluster: checks its nodes before a study starts, and counts free places.

Every node reads and writes the study's folder, so that a trial which loses its node continues from
its checkpoint on another. The driver decodes the images once, into the study's folder. A node maps
that file into memory, so it reads the file once for all its trials.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltat_tune import provenance
from ltat_tune.backend.nodes import (
    GPU,
    Node,
    alive_nodes,
    fitting_on,
    inspect,
    node_differences,
    precision_on,
)
from ltat_tune.backend.ray_session import cluster_session
from ltat_tune.config.sections import DataConfig
from ltat_tune.errors import StudyError
from ltat_tune.space.resources import ResourcesSpec, fitting
from ltat_tune.storage.folder import StudyFolder

_POLL_S = 2.0  # the longest delay until a node that joins or leaves is noticed
_ANSWER_S = 120.0  # a node's first answer starts a process and its imports
_SETTLE_S = 2.0  # shared folders may show another machine's file with a delay
_DESK = ".cluster"


class Cluster:
    """The nodes of a cluster that a study may use. Needs a connected Ray.

    Args:
        resources: what one task takes.
        folder: the study's, which every node must see.
    """

    def __init__(self, resources: ResourcesSpec, folder: StudyFolder) -> None:
        self.news: list[str] = []  # nodes that joined or left; readers empty it
        self.problem = ""  # why a node that joined cannot be used
        self.resources, self._folder = resources, folder
        self.precision = ""  # of all trials that leave it to the device; empty: not chosen yet
        self._gpus: dict[str, list[GPU]] = {}  # by node
        self._data: tuple[DataConfig, ...] = ()
        self._nodes: dict[str, Node] = {}  # checked and alive
        self._asked: dict[str, tuple[Node, Any]] = {}
        self._word = uuid.uuid4().hex
        self._polled = 0.0
        self._desk = folder.root.resolve() / _DESK

    def check(self) -> list[str]:
        """Check every node before anything trains. Return notes.

        Raises:
            StudyError: no node has what a task takes, or nodes cannot be used; all at once.
        """
        nodes = alive_nodes()
        if fitting_on(nodes.values(), self.resources) == 0:
            raise StudyError(self._too_small(nodes.values()))
        shutil.rmtree(self._desk, ignore_errors=True)
        self._desk.mkdir()
        (self._desk / "word").write_text(self._word)
        problems, notes = self._look_at(nodes.values())
        if problems:
            raise StudyError("\n".join(problems))
        self._nodes, self._polled = nodes, time.monotonic()
        fit = fitting_on(nodes.values(), self.resources)
        cpus, gpus = (sum(getattr(n, what) for n in nodes.values()) for what in ("cpus", "gpus"))
        return [
            f"Ray cluster of {_count(len(nodes), 'node')} with {_count(cpus, 'CPU')} and "
            f"{_count(gpus, 'GPU')}: {_count(fit, 'task')} at once",
            *notes,
        ]

    def check_images(self, data: Iterable[DataConfig]) -> None:
        """Open every data set on every node, once the driver has decoded them.

        Raises:
            StudyError: with every node that cannot.
        """
        self._data = tuple(dict.fromkeys(data))
        for config in self._data:
            if config.root is not None and not Path(config.root).expanduser().is_absolute():
                raise StudyError(
                    "data.root must be an absolute path, because every node has its own working "
                    f"folder, got {config.root}; --set data.root={Path(config.root).resolve()}"
                )
        problems, _ = self._look_at(self._nodes.values())
        if problems:
            raise StudyError("\n".join(problems))

    def slots(self) -> int:
        """Return how many tasks fit on the present nodes, polled every two seconds at most."""
        if time.monotonic() - self._polled >= _POLL_S:
            self._poll()
        return fitting_on(self._nodes.values(), self.resources)

    def largest(self) -> int:
        """Return how many tasks fit on the largest node."""
        fits = [fitting(node.cpus, node.gpus, self.resources) for node in self._nodes.values()]
        return max(fits, default=0)

    def settle(self) -> str:
        """Wait until every node that joined has answered. Return `problem`.

        A failed task calls this to learn whether its node is the cause.
        """
        deadline = time.monotonic() + _ANSWER_S
        self._poll()
        while self._asked and time.monotonic() < deadline:
            time.sleep(0.1)
            self._poll()
        return self.problem

    @property
    def gpus(self) -> list[GPU]:
        """The GPUs of the nodes that answered."""
        return [gpu for gpus in self._gpus.values() for gpu in gpus]

    # -- inside ---------------------------------------------------------------------------------

    def _poll(self) -> None:
        import ray

        self._polled = time.monotonic()
        alive = alive_nodes()
        for node in [n for n in self._nodes.values() if n.id not in alive]:
            del self._nodes[node.id]
            self._tell(f"node {node.title} left")
        for gone in self._asked.keys() - alive.keys():
            del self._asked[gone]
        for node in alive.values():
            if node.id not in self._nodes and node.id not in self._asked and not self.problem:
                self._asked[node.id] = (node, self._ask(node))
        for node, answer in list(self._asked.values()):
            if not ray.wait([answer], timeout=0)[0]:
                continue
            del self._asked[node.id]
            problems, notes = self._judge(node, answer)
            if problems and node.id in alive_nodes():
                self.problem = "\n".join(problems)
            elif not problems:
                self._nodes[node.id] = node
                self._tell(f"node {node.title} joined")
                self.news += notes

    def _tell(self, event: str) -> None:
        fit = fitting_on(self._nodes.values(), self.resources)
        self.news.append(f"{event}: {_count(fit, 'task')} at once")

    def _look_at(self, nodes: Iterable[Node]) -> tuple[list[str], list[str]]:
        """Return the problems and the notes of all nodes, which answer side by side."""
        answers = [(node, self._ask(node)) for node in nodes]
        problems: dict[str, None] = {}
        notes: dict[str, None] = {}
        for node, answer in answers:
            result = self._judge(node, answer)
            problems |= dict.fromkeys(result[0])
            notes |= dict.fromkeys(result[1])
        return list(problems), list(notes)

    def _ask(self, node: Node) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there: Any = NodeAffinitySchedulingStrategy(node.id, soft=False)
        remote: Any = ray.remote(num_cpus=0, max_retries=0)(inspect)
        cache = str(self._folder.cache.resolve())
        return remote.options(scheduling_strategy=there).remote(
            str(self._desk), self._word, node.id, self._data, cache
        )

    def _judge(self, node: Node, answer: Any) -> tuple[list[str], list[str]]:
        """Return the problems of a node, and notes on it."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            report = ray.get(answer, timeout=_ANSWER_S)
        except GetTimeoutError:
            return [
                f"node {node.title} did not answer within {_ANSWER_S:.0f} s; perhaps "
                f"{self._folder.root.resolve()} hangs there; take the node out of the cluster"
            ], []
        except (RayError, ImportError) as error:
            last = str(error).strip().splitlines()[-1]
            return [
                f"node {node.title} cannot run ltat-tune ({last}); install ltat-tune "
                f"{provenance.versions()['ltat-tune']} there, in the environment that runs Ray"
            ], []
        seen = report["problem"] or self._unseen(node)
        if seen:
            return [
                f"node {node.title} must see the study's folder {self._folder.root.resolve()}, "
                f"but {seen}; choose a folder that all nodes mount, with --out, or take "
                "the node out of the cluster"
            ], []
        problems, notes = node_differences(node, report["versions"], report["commit"])
        self._gpus[node.id] = report["gpus"]
        lacking = [gpu for gpu in report["gpus"] if precision_on([gpu]) == "fp32"]
        if lacking and self.precision == "bf16" and self.resources.gpus_per_trial > 0:
            problems.append(
                f"node {node.title} has {lacking[0].title}, which has no bfloat16, but this study "
                "trains in bf16; take the node out of the cluster"
            )
        if report["images"]:
            problems.append(
                f"node {node.title} cannot open the images: {report['images']}; put them where "
                "all nodes mount them, and name that place as data.root"
            )
        if not report["token"]:
            notes.append(
                f"node {node.title} runs code from anyone who reaches its ports: stop Ray there "
                "and start it again with RAY_AUTH_MODE=token and the same token file on all nodes"
            )
        return problems, notes

    def _unseen(self, node: Node) -> str:
        """Return why the driver does not see what the node wrote; empty if it does."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                if (self._desk / node.id).read_text() == self._word:
                    return ""
            except OSError:
                pass
            if time.monotonic() > deadline:
                return "what it writes there does not appear here"
            time.sleep(0.1)

    def _too_small(self, nodes: Iterable[Node]) -> str:
        needed = f"{self.resources.cpus_per_trial} CPUs"
        if self.resources.gpus_per_trial:
            needed += f" and {self.resources.gpus_per_trial:g} GPUs"
        there = "; ".join(f"{n.title}: {n.cpus:g} CPUs, {n.gpus:g} GPUs" for n in nodes)
        return (
            f"one node must have the {needed} that resources asks for each trial, got {there}; "
            "lower resources.cpus_per_trial or gpus_per_trial, or add such a node"
        )


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


@contextmanager
def joined(address: str, resources: ResourcesSpec, folder: StudyFolder) -> Iterator[Cluster]:
    """Connect to the cluster at an address for the length of a study.

    Raises:
        StudyError: there is none, or it does not let us in.
    """
    with cluster_session(address):
        try:
            yield Cluster(resources, folder)
        finally:
            shutil.rmtree(folder.root / _DESK, ignore_errors=True)
