"""The nodes of a Ray cluster: what each one has, how many tasks fit, and checks that run there."""

from __future__ import annotations

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
        A dict with the keys problem, images, versions, commit and token. The first two are
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
