"""/metrics of any member, ours or etcd's, as values."""

from __future__ import annotations

import http.client

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


def families_of(address: str) -> dict[str, Metric]:
    """The families of one scrape, by name."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples_of(address: str) -> Samples:
    """All samples of one scrape, by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families_of(address).values()
        for sample in family.samples
    }


def label_names(metric: Metric) -> set[frozenset[str]]:
    """The names of labels of all samples, without a histogram's bounds."""
    return {frozenset(sample.labels) - {"le"} for sample in metric.samples}
