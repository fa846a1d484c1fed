"""One cluster per module where its tests leave it as they found it, and fresh ones for the rest.

Names carry the worker, so that several workers of pytest-xdist show apart in a process list.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.judged_server import ConclaveServer, EtcdServer, JudgedServer
from tests.support.live_cluster import LiveCluster, running_cluster
from tools.bench.etcd import EtcdCluster

ETCD_FLAGS = ["--unsafe-no-fsync", "--heartbeat-interval=50", "--election-timeout=500"]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def cluster_name(request: pytest.FixtureRequest) -> str:
    """A name from worker and module, within the bounds of a cluster's name."""
    module = request.path.stem.removeprefix("test_").replace("_", "-")
    return f"{WORKER}-{module}"[:32].rstrip("-")


@pytest.fixture(scope="session", autouse=True)
def orderly_end() -> Iterator[None]:
    """A run that is terminated takes its clusters down, as one that is interrupted does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveCluster]:
    """Three nodes that the tests of a module share."""
    name = cluster_name(request)
    with running_cluster(tmp_path_factory.mktemp("shared"), name) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: LiveCluster) -> Iterator[LiveCluster]:
    """The shared cluster, whole again after each test."""
    yield shared
    shared.heal()


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., LiveCluster]]:
    """Makes clusters for one test: `fresh(size)` is up when it returns."""
    name = cluster_name(request)
    with ExitStack() as stack:

        def make(size: int = 3, *arguments: str) -> LiveCluster:
            number = len(list(tmp_path.iterdir()))
            directory = tmp_path / str(number)
            return stack.enter_context(running_cluster(directory, name, size, *arguments))

        yield make


@pytest.fixture(scope="module", params=["conclave", "etcd"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JudgedServer]:
    """Both of them in turn, each shared by the tests of a module."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "etcd":
        with EtcdCluster(directory, flags=ETCD_FLAGS) as etcd:
            yield EtcdServer(etcd)
    else:
        with running_cluster(directory, cluster_name(request)) as cluster:
            yield ConclaveServer(cluster)
