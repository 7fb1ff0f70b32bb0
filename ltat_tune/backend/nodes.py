"""The nodes of a Ray cluster: what each one has, how many tasks fit, and checks that run there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltat_tune import provenance
from ltat_tune.backend.ray_internals import asks_for_tokens
from ltat_tune.config.sections import DataConfig
from ltat_tune.data.cache import open_cached
from ltat_tune.errors import LtatError
from ltat_tune.space.resources import ResourcesSpec, fitting

# If one of these differs, the same trial gives other numbers on another node.
_ALIKE = ("ltat-tune", "python", "torch", "ray")


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, as Ray counts it."""

    id: str
    title: str  # human-readable: address and name
    cpus: float
    gpus: float


@dataclass(frozen=True)
class GPU:
    """One GPU: its name and its compute capability, such as (9, 0)."""

    name: str
    capability: tuple[int, int]

    @property
    def title(self) -> str:
        """Name and capability, such as `NVIDIA H200 (compute capability 9.0)`."""
        return f"{self.name} (compute capability {'.'.join(map(str, self.capability))})"


def precision_on(gpus: Iterable[GPU]) -> str:
    """Return what `compute.precision: auto` is on these GPUs: bf16 if each has bfloat16."""
    return "bf16" if all(gpu.capability >= (8, 0) for gpu in gpus) else "fp32"


def gpus_of_node() -> list[GPU]:
    """Return this machine's GPUs by nvidia-smi; a task without a GPU sees none through torch."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = []
    for line in done.stdout.splitlines():
        name, _, capability = line.rpartition(",")
        major, _, minor = capability.strip().partition(".")
        if major.isdigit() and minor.isdigit():
            gpus.append(GPU(name.strip(), (int(major), int(minor))))
    return gpus


def fitting_on(nodes: Iterable[Node], resources: ResourcesSpec) -> int:
    """Return how many tasks fit on all nodes at once. No task is spread over two nodes."""
    fit = sum(fitting(node.cpus, node.gpus, resources) for node in nodes)
    return fit if resources.concurrency is None else min(fit, resources.concurrency)


def alive_nodes() -> dict[str, Node]:
    """Return the nodes that Ray has now, by id."""
    import ray

    nodes = {}
    for entry in ray.nodes():
        if not entry["Alive"]:
            continue
        address, name = entry["NodeManagerAddress"], entry["NodeName"]
        if name == address:
            name = entry["NodeManagerHostname"]
        total = entry["Resources"]
        nodes[entry["NodeID"]] = Node(
            entry["NodeID"], f"{address} ({name})", total.get("CPU", 0), total.get("GPU", 0)
        )
    return nodes


def inspect(
    desk: str, word: str, node: str, data: Sequence[DataConfig], cache: str
) -> dict[str, Any]:
    """Check what a node sees. Runs on that node.

    Args:
        desk: a folder inside the study's, with a file `word`.
        word: the content of that file, which the node copies into a file of its own.
        node: the node's id, which names the node's file.
        data: data sets that the node must be able to open.
        cache: folder of the decoded images.

    Returns:
        A dict with the keys problem, images, versions, commit, token and gpus. The first two are
        empty if all is well.
    """
    problem = ""
    try:
        if (Path(desk) / "word").read_text() != word:
            problem = "sees another folder under the same name"
        else:
            (Path(desk) / node).write_text(word)
    except OSError as error:
        problem = f"cannot read or cannot write it: {error.strerror}"
    images = ""
    try:
        for config in data if not problem else ():
            for read in open_cached(config, Path(cache)).splits.values():
                read()
    except (LtatError, OSError) as error:
        images = str(error)
    return {
        "problem": problem,
        "images": images,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "token": asks_for_tokens(),
        "gpus": gpus_of_node(),
    }


def node_differences(
    node: Node, theirs: dict[str, str], commit: str
) -> tuple[list[str], list[str]]:
    """Compare a node's versions and commit with the driver's.

    Returns:
        Reasons to refuse the node, and notes.
    """
    problems, notes = [], []
    for name, ours in provenance.versions().items():
        other = theirs.get(name, "not installed")
        short = name == "python"  # patch releases compute alike
        if (_minor(other) if short else other) == (_minor(ours) if short else ours):
            continue
        difference = f"node {node.title} has {name} {other}, the driver {ours}"
        if name in _ALIKE:
            problems.append(f"{difference}; install the same on both")
        else:
            notes.append(difference)
    if commit != provenance.commit():
        notes.append(
            f"node {node.title} has the code at commit {commit or 'unknown'}, "
            f"the driver at {provenance.commit() or 'unknown'}"
        )
    return problems, notes


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
