"""Why a measurement could not be made."""

from __future__ import annotations


class BenchFailed(Exception):
    """Nothing could be measured; the text says why."""


class EtcdUnavailable(BenchFailed):
    """There is no etcd binary, or it did not come up."""
