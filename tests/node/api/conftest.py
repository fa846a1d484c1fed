"""A served member and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_client import ApiClient
from tests.support.api_member import ApiMember, ServedMember
from tests.support.auth_client import enable, make_users


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


@pytest.fixture
def guarded(client: ApiClient) -> ApiClient:
    """A client of a member that knows root, alice and bob, and judges requests."""
    make_users(client)
    enable(client)
    return client
