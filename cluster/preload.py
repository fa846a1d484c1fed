"""Imported by the zygote before it forks anything: all that a node needs, once for all nodes."""

from __future__ import annotations

import node.__main__  # noqa: F401
from cluster.zygote_process import prepare

prepare("conclave-zygote")
