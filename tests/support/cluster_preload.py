"""What the zygote of a test's supervisor loads: the tiny program, then what every zygote owes."""

from __future__ import annotations

import tests.support.cluster_child  # noqa: F401
from cluster.zygote_process import prepare

prepare("tiny-zygote")
