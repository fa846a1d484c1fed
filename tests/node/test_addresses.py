"""Which word about a member's address counts, and what one that is none yet is told."""

from __future__ import annotations

import msgspec
import pytest

from node.addresses import AddressBook, Introduced, Introduction, address_of
from node.config import MemberSpec
from node.status import MemberRecord

TOLD = MemberSpec(
    id=1, name="n1", client_host="", client_port=0, peer_urls=("http://127.0.0.1:1001",)
)


@pytest.fixture
def book() -> AddressBook:
    return AddressBook(77, [TOLD])


def record(member: int, *peer_urls: str, name: str = "") -> MemberRecord:
    return MemberRecord(member, name, peer_urls, ())


def test_address_isAsTold_untilTheRosterKnowsBetter(book: AddressBook) -> None:
    told = book.address(1)
    book.members = lambda: [record(1, "http://127.0.0.1:2001")]

    assert (told, book.address(1)) == ("127.0.0.1:1001", "127.0.0.1:2001")


@pytest.mark.parametrize("urls", [(), ("unix://n1",), ("http://10.0.0.1:2380",)])
def test_address_isAsTold_whenTheRosterIsOfNoUse(book: AddressBook, urls: tuple[str, ...]) -> None:
    book.members = lambda: [record(1, *urls)]

    assert book.address(1) == "127.0.0.1:1001"


def test_hint_countsForTheOneItNames_asLongAsNothingElseIsKnown(book: AddressBook) -> None:
    unknown = book.address(9)
    book.note(9, "127.0.0.1:9009")
    book.note(1, "127.0.0.1:9001")
    book.note(9, "127.0.0.1:9010")
    hinted = book.address(9)
    book.members = lambda: [record(9, "http://127.0.0.1:2009")]

    assert (unknown, hinted) == ("", "127.0.0.1:9010")
    assert book.address(1) == "127.0.0.1:1001"
    assert book.address(9) == "127.0.0.1:2009"


@pytest.mark.parametrize(
    "address", ["", ":", "10.0.0.1:80", "localhost:80", "127.0.0.1:0", "127.0.0.1:x", "x" * 99]
)
def test_hint_thatIsNoLoopbackAddress_isForgotten(book: AddressBook, address: str) -> None:
    book.note(9, address)

    assert book.address(9) == ""


def test_introduction_showsWhoHasNotPublished_whereItWasTold(book: AddressBook) -> None:
    book.members = lambda: [record(1), record(2, "http://127.0.0.1:2002", name="n2")]

    told = msgspec.json.decode(book.introduction(), type=Introduction)

    assert told == Introduction(
        cluster_id=77,
        members=(
            Introduced(id=1, name="", peer_urls=("http://127.0.0.1:1001",)),
            Introduced(id=2, name="n2", peer_urls=("http://127.0.0.1:2002",)),
        ),
    )


@pytest.mark.parametrize(
    ("urls", "address"),
    [
        ([], ""),
        (["http://localhost:2380"], "127.0.0.1:2380"),
        (["http://10.1.1.1:2380", "http://[::1]:2380"], "[::1]:2380"),
        (["https://127.0.0.1:2380"], ""),
        (["unix://n1"], ""),
        (["http://127.0.0.1"], ""),
        (["http://127.0.0.1:99999", "http://[::1:1"], ""),
    ],
)
def test_addressOf(urls: list[str], address: str) -> None:
    assert address_of(urls) == address
