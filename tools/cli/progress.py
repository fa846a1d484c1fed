"""Where the time of `conclave up` went: one stable line per phase, then what to do next.

Pure: the launcher's progress in, lines out. The same lines on a terminal and in a CI log, because
each phase takes less time than a spinner needs for one turn.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.document import Progress, StatusDocument
from cluster.variables import etcdctl_variables
from tools.cli.colour import PLAIN, Paint
from tools.cli.table import printable

LABEL_WIDTH = 28
NEXT_VERBS = ("status", "kill leader", "logs -f", "down")


@dataclass(slots=True)
class Launch:
    """What a launch has told so far."""

    node_ms: dict[str, float] = field(default_factory=dict)
    """Fork to serving, per node, in the order in which they served."""
    phases: dict[str, float] = field(default_factory=dict)
    status: StatusDocument | None = None
    ready_ms: float = 0.0
    already_up: bool = False

    def take(self, progress: Progress, paint: Paint = PLAIN) -> str:
        """Keep one line of progress; the answer is the line to show, or nothing."""
        phase, ms = progress["phase"], progress.get("ms", 0.0)
        self.status = progress.get("status", self.status)
        if phase == "node":
            self.node_ms[progress["node"]] = ms
        elif phase == "node-failed":
            text = f"{progress['node']} failed: {progress.get('reason') or 'unknown'}"
            return f" {paint('✗', 'red')} {printable(text)}"
        elif phase == "already-up":
            self.already_up = True
        elif phase == "ready":
            self.ready_ms = ms
        else:
            self.phases[phase] = ms
            return phase_line(self.label(progress), ms, self.detail(phase), paint)
        return ""

    def label(self, progress: Progress) -> str:
        """What a finished phase achieved."""
        match progress["phase"]:
            case "zygote":
                return "forkserver warm"
            case "nodes":
                noun = "node" if len(self.node_ms) == 1 else "nodes"
                return f"{len(self.node_ms)} {noun} serving"
            case "leader":
                return f"leader {progress['node']} elected, term {progress['term']}"
            case "write":
                return "first write committed"
            case other:
                return other

    def detail(self, phase: str) -> str:
        """Each node's own time behind the phase that waited for all of them."""
        if phase != "nodes":
            return ""
        return "  ".join(f"{name} {ms:.0f}" for name, ms in sorted(self.node_ms.items()))


def phase_line(label: str, ms: float, detail: str, paint: Paint) -> str:
    """` ✓ 3 nodes serving            41 ms   n1 17  n2 18  n3 41`."""
    text = f" {paint('✓', 'green')} {printable(label):<{LABEL_WIDTH}}{ms:>5.0f} ms"
    return f"{text}   {paint(printable(detail), 'dim')}" if detail else text


def ready_lines(launch: Launch, status: StatusDocument, paint: Paint = PLAIN) -> list[str]:
    """The result: that it is ready, where it is, and what to type next."""
    count = len(status["nodes"])
    nodes = f"{count} node" if count == 1 else f"{count} nodes"
    place = tilde(status["directory"])
    if launch.already_up:
        head = f"{paint('Already up', 'green', 'bold')}, {nodes}, data {place}"
    else:
        took = f"{launch.ready_ms / 1000:.2f} s"
        head = f"{paint('Ready', 'green', 'bold')} in {took}, {nodes}, data {place}"
    conclave = runnable("conclave")
    variables = etcdctl_variables(status)
    endpoints = variables.pop("ETCDCTL_ENDPOINTS")
    steps = " · ".join(f"{conclave} {verb}" for verb in NEXT_VERBS)
    return [
        head,
        f'  export ETCDCTL_ENDPOINTS={endpoints}     # or: eval "$({conclave} env)"',
        *tls_lines(variables),
        *(f"  {line}" for line in try_lines(runnable("etcdctl"))),
        f"  next: {steps}",
    ]


def tls_lines(variables: Mapping[str, str]) -> list[str]:
    """What etcdctl has to be told besides, to speak TLS; no line for a cluster without."""
    pairs = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    pairs = [pair for pair in pairs if not pair.startswith("ETCDCTL_API=")]
    return [f"  export {' '.join(pairs)}"] if pairs else []


def try_lines(etcdctl: str) -> list[str]:
    """Lines to paste that show the cluster to be an etcd."""
    txn = r"""printf 'value("greeting") = "hello"\n\nput greeting again\n\nget greeting\n\n'"""
    return [
        f"{etcdctl} put greeting hello",
        f"{etcdctl} get greeting",
        f"{txn} | {etcdctl} txn",
        f"{etcdctl} lease grant 60",
        f"{etcdctl} watch greeting --rev 1",
    ]


def runnable(program: str) -> str:
    """What to type for a program: its name on PATH, else its path beside this interpreter.

    After `make up` nothing is on PATH: the environment is not activated.
    """
    beside = os.path.join(os.path.dirname(sys.executable), program)
    if shutil.which(program) or not os.path.exists(beside):
        return program
    return min(beside, os.path.relpath(beside), key=len)


def tilde(path: str) -> str:
    """A path below the home directory as people write it."""
    home = os.path.expanduser("~")
    inside = home != "/" and (path == home or path.startswith(home + "/"))
    return "~" + path[len(home) :] if inside else path


def up_document(launch: Launch, status: StatusDocument) -> dict[str, object]:
    """Schema `conclave/up.v1`; phase times add up to `ready_ms` but for the gaps between them."""
    return {
        "schema": "conclave/up.v1",
        "cluster": status["cluster"],
        "already_up": launch.already_up,
        "ready_ms": launch.ready_ms,
        "phases_ms": launch.phases,
        "nodes_ms": launch.node_ms,
        "endpoints": status["endpoints"],
        "directory": status["directory"],
        "status": status,
    }
