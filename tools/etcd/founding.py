"""Who the members of a cluster are, computed from the flags alone.

All founding members are given the same list, and come to the same ids without a word between them:
the id of a member is made of its peer URLs and the cluster's token, that of the cluster of its
members' ids. These are etcd's formulas, so that a real etcd with the same flags has the same ids.

Who joins is given a list too, but the ids were drawn by the cluster, so it asks one of the others
(`node.addresses.Introduction`) and finds itself there by its peer URLs.

Source: etcd server/etcdserver/api/membership/member.go (computeMemberID), cluster.go (genID,
ValidateClusterAndAssignIDs), server/config/config.go (VerifyBootstrap).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1

from node.addresses import Introduction, address_of
from tools.etcd.errors import Refused
from tools.etcd.url import Url, texts

Members = Mapping[str, tuple[Url, ...]]
"""Peer URLs by name."""


@dataclass(frozen=True, slots=True, order=True)
class Founder:
    """One member of the list."""

    id: int
    name: str
    peer_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Founding:
    """A cluster, and which of its members this one is."""

    cluster_id: int
    member_id: int
    members: tuple[Founder, ...]


def found(members: Members, token: str, name: str, advertised: Sequence[Url]) -> Founding:
    """The cluster that begins with these members.

    Raises:
        Refused: the flags contradict each other, or cannot be served.
    """
    _check_list(members, name)
    _check_advertised(members[name], advertised, name)
    founders = tuple(
        sorted(
            (Founder(member_id(texts(urls), token), each, texts(urls)))
            for each, urls in members.items()
        )
    )
    if len(founders) > 1:
        check_loopback(founders)
    own = member_id(texts(members[name]), token)
    return Founding(cluster_id([founder.id for founder in founders]), own, founders)


def joined(members: Members, name: str, told: Introduction) -> Founding:
    """The cluster that this member was added to.

    Raises:
        Refused: it was not, or the flags say something else than the cluster.
    """
    wanted = {urls_key(texts(urls)): each for each, urls in members.items()}
    known = {urls_key(member.peer_urls): member for member in told.members}
    if wanted.keys() != known.keys():
        raise Refused(
            f"error validating peerURLs: the cluster has {_listed(known)}, "
            f"--initial-cluster has {_listed(wanted)}",
            "etcdctl member add NAME --peer-urls=URL, then start with what it prints",
        )
    founders = tuple(
        sorted(
            Founder(member.id, member.name or wanted[key], member.peer_urls)
            for key, member in known.items()
        )
    )
    check_loopback(founders)
    own = known[urls_key(texts(members[name]))]
    if own.name and own.name != name:
        raise Refused(
            f"member {own.id:x} has already been bootstrapped",
            "its data directory is gone: etcdctl member remove, then add it again",
        )
    return Founding(told.cluster_id, own.id, founders)


def check_new(founding: Founding, told: Introduction) -> None:
    """A member whose data is gone must not begin anew: it would break what it has promised.

    Raises:
        Refused: a running member of this cluster knows this one.
    """
    if told.cluster_id != founding.cluster_id:
        return
    if any(member.id == founding.member_id and member.name for member in told.members):
        raise Refused(
            f"member {founding.member_id:x} has already been bootstrapped",
            "its data directory is gone: etcdctl member remove, then add it again",
        )


def check_joiner(members: Members, name: str) -> None:
    """What can be told before anybody is asked.

    Raises:
        Refused: the flags contradict each other.
    """
    _check_list(members, name)


def check_loopback(founders: Sequence[Founder]) -> None:
    """Members of one cluster reach each other over loopback only.

    Raises:
        Refused: one could not be reached.
    """
    for founder in founders:
        if not address_of(founder.peer_urls):
            raise Refused(
                f"member {founder.name} at {','.join(founder.peer_urls)} cannot be reached: the "
                "members of a cluster live on one machine, and speak over loopback",
                "peer URLs like http://127.0.0.1:2380, without TLS",
            )


def member_id(peer_urls: Sequence[str], token: str) -> int:
    """A founding member's id."""
    return _first_bytes("".join(sorted(peer_urls)).encode() + token.encode())


def cluster_id(member_ids: Sequence[int]) -> int:
    """The id of the cluster that begins with these members."""
    return _first_bytes(b"".join(member.to_bytes(8, "big") for member in sorted(member_ids)))


def urls_key(urls: Sequence[str]) -> tuple[str, ...]:
    """Peer URLs as they are compared: localhost is 127.0.0.1."""
    return tuple(sorted(url.replace("//localhost:", "//127.0.0.1:") for url in urls))


def _check_list(members: Members, name: str) -> None:
    if name not in members:
        raise Refused(
            f'couldn\'t find local name "{name}" in the initial cluster configuration',
            "--initial-cluster has to name this member: NAME=PEER-URL",
        )
    every = [url.text for urls in members.values() for url in urls]
    if len(set(every)) != len(every):
        listed = _listed(map(texts, members.values()))
        raise Refused(f"initial cluster {listed} has duplicate url")


def _check_advertised(listed: Sequence[Url], advertised: Sequence[Url], name: str) -> None:
    if urls_key(texts(listed)) == urls_key(texts(advertised)):
        return
    own, told = set(texts(advertised)), set(texts(listed))
    if told - own:
        missing = ",".join(f"{name}={url}" for url in sorted(told - own))
        flag = ",".join(sorted(own))
        raise Refused(
            f"--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={flag}"
        )
    extra = ",".join(sorted(own - told))
    listing = ",".join(f"{name}={url}" for url in sorted(own))
    raise Refused(
        f"--initial-advertise-peer-urls has {extra} but missing from --initial-cluster={listing}"
    )


def _listed(lists: Iterable[Sequence[str]]) -> str:
    """Peer URLs of several members, for people."""
    return "; ".join(",".join(urls) for urls in sorted(map(tuple, lists)))


def _first_bytes(content: bytes) -> int:
    # A checksum, not a secret: etcd's choice of function decides.
    return int.from_bytes(sha1(content, usedforsecurity=False).digest()[:8], "big")
