"""A served member and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember


@pytest.fixture
def served() -> Iterator[ServedMember]:
    """An empty member behind its client port."""
    with ServedMember(ApiMember()) as served:
        yield served


@pytest.fixture
def client(served: ServedMember) -> Iterator[ApiClient]:
    """A client of `served`."""
    with ApiClient(served.address) as client:
        yield client
