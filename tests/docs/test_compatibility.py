"""docs/compatibility.md names every method and every flag of etcd, and promises no more than is.

`pytest tests/docs --rewrite` writes its two tables anew; read the difference.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.api.service import SERVICES, Services
from node.proto.pool import POOL
from tests.support.api_member import ApiMember
from tools.etcd.flag import Use
from tools.etcd.flag_table import FLAGS

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

REMARKS = {
    "Auth/RoleGrantPermission": "the same keys again replace a permission; etcd may add another",
    "KV/RangeStream": "as in etcd 3.7",
    "KV/Range": "keys that are equal in what a range is sorted by come in the order of keys",
    "Watch/Watch": "an id that compaction has ended may be used again (below); who watches from a"
    " key on needs all those keys, as from 3.6.12 on",
    "Maintenance/Status": "any user may ask, as from 3.6.12 on; 3.6.11 wants root",
    "Lease/LeaseLeases": "by id; etcd by the time that is left",
    "Lease/LeaseTimeToLive": "keys in order; etcd in none",
    "Maintenance/Hash": "a number of its own; equal states, equal numbers",
    "Maintenance/HashKV": "a number of its own; equal on all members, not etcd's",
    "Maintenance/Snapshot": "a file of etcd's own format",
    "Maintenance/Defragment": "serves on meanwhile",
    "Maintenance/Downgrade": "judged, announced and taken back; there is no older release to go to",
}
"""What is to be known of a method besides whether it is served."""
WORDS = {Use.SERVED: "served", Use.IDLE: "no effect", Use.REFUSED: "refused"}


def methods() -> Iterator[str]:
    """Service/Method of everything that etcd's client port has, in order."""
    for service in sorted(SERVICES):
        yield from (f"/{service}/{name}" for name in _methods_of(service))


def _methods_of(service: str) -> Iterator[str]:
    yield from (method.name for method in POOL.FindServiceByName(service).methods)


def short(path: str) -> str:
    """Without the package, where the name alone says enough."""
    return path.removeprefix("/").removeprefix("etcdserverpb.")


def served_paths() -> frozenset[str]:
    """What this product answers."""
    services = Services(ApiMember(), random.Random(1))
    return frozenset(services.unary) | frozenset(services.streams)


def method_rows() -> list[str]:
    """The table of methods."""
    served = served_paths()
    return [
        _row(
            short(path), "served" if path in served else "not served", REMARKS.get(short(path), "")
        )
        for path in methods()
    ]


def flag_rows() -> list[str]:
    """The table of flags."""
    return [
        _row(f"--{name}", WORDS[flag.use], "" if flag.use is Use.SERVED else flag.help)
        for name, flag in FLAGS.items()
    ]


def _row(*cells: str) -> str:
    return f"| `{cells[0]}` | {' | '.join(cells[1:])} |".replace("|  |", "| |")


def table(page: str, name: str) -> dict[str, str]:
    """The rows of one of the page's tables: first cell to second."""
    return {
        cells[1].strip().strip("`"): cells[2].strip()
        for cells in (line.split("|") for line in _span(page, name).splitlines())
        if len(cells) > 3 and "`" in cells[1]
    }


def _span(page: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found is not None, f"no table of {name}"
    return found.group(1)


@pytest.fixture
def page(rewrite: bool) -> str:
    """The page, with its tables written anew if that was asked for."""
    text = PAGE.read_text()
    if rewrite:
        for name, rows in (("methods", method_rows()), ("flags", flag_rows())):
            before = _span(text, name)
            head = "".join(line for line in before.splitlines(True) if "`" not in line)
            text = text.replace(before, head + "\n".join(rows) + "\n")
        PAGE.write_text(text)
    return text


def test_every_method_has_a_row_and_no_other(page: str) -> None:
    assert set(table(page, "methods")) == {short(path) for path in methods()}


def test_what_is_called_served_is(page: str) -> None:
    served = {name for name, state in table(page, "methods").items() if state == "served"}

    assert served <= {short(path) for path in served_paths()}


def test_every_flag_has_a_row_and_no_other(page: str) -> None:
    assert set(table(page, "flags")) == {f"--{name}" for name in FLAGS}
