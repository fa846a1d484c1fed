"""Who this member is: remembered, computed, or learned from those that run; and what its node is
told.

    data there                       as it is written there
    new                              ids from the flags, unless a running member knows this one
    existing                         ids from a running member

Source: etcd server/etcdserver/bootstrap.go.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator

import msgspec

from node.addresses import Introduction, address_of
from node.config import MemberSpec, NodeConfig
from tools.etcd.errors import Refused
from tools.etcd.founding import Founding, check_joiner, check_new, found, joined, urls_key
from tools.etcd.journal import Journal
from tools.etcd.place import Place, Record
from tools.etcd.settings import Settings
from tools.etcd.url import texts
from transport.mesh import WHO_IS_THERE
from transport.zeromq import ask

ASK_SECONDS = 1.0
JOIN_SECONDS = 10.0
"""How long the members may take to agree that this one was added."""
PAUSE_SECONDS = 0.1


def begin(settings: Settings, journal: Journal) -> tuple[Place, Record]:
    """Take the data directory, and know whose it is.

    Raises:
        Refused: it must not be used, or the cluster cannot be found.
        OSError: the directory cannot be used.
    """
    place = Place(settings.directory)
    place.take()
    record = place.load()
    facts = {"data-dir": str(settings.directory)}
    if record is not None:
        journal.write("info", "server has already been initialized", facts)
    else:
        journal.write("info", "Initialize and start etcd server", facts)
        record = Record(founding=_founding(settings), join=settings.existing)
        place.save(record)
    ids = {
        "local-member-id": f"{record.founding.member_id:x}",
        "cluster-id": f"{record.founding.cluster_id:x}",
    }
    journal.write("info", "starting local member", ids)
    return place, record


def node_config(settings: Settings, place: Place, record: Record) -> NodeConfig:
    """All that the node is told."""
    founding = record.founding
    first = min(member.id for member in founding.members)
    return NodeConfig(
        cluster_id=founding.cluster_id,
        member_id=founding.member_id,
        members=tuple(_specs(settings, founding)),
        data_directory=str(place.database),
        peer_address=settings.peer_address,
        bootstrap=not record.served,
        join=record.join,
        campaign_first=first == founding.member_id and not record.served and not record.join,
        tls=settings.tls,
        ticks=settings.ticks,
        limits=settings.limits,
    )


def _specs(settings: Settings, founding: Founding) -> Iterator[MemberSpec]:
    for member in founding.members:
        if member.id != founding.member_id:
            yield MemberSpec(
                id=member.id,
                name=member.name,
                client_host="",
                client_port=0,
                peer_urls=member.peer_urls,
            )
            continue
        yield MemberSpec(
            id=member.id,
            name=settings.name,
            client_host=settings.client_urls[0].bind_host,
            client_port=settings.client_urls[0].port,
            peer_urls=member.peer_urls,
            advertised_urls=texts(settings.advertised_urls),
        )


def _founding(settings: Settings) -> Founding:
    members, name = settings.members, settings.name
    if settings.existing:
        check_joiner(members, name)
        return _join(settings)
    founding = found(members, settings.token, name, settings.peer_urls)
    for told in _introductions(_others(settings)):
        check_new(founding, told)
    return founding


def _join(settings: Settings) -> Founding:
    """Find this member among those of a running cluster. One that lags may not know yet that it was
    added, so all are asked, and asked again for a while."""
    until = time.monotonic() + JOIN_SECONDS
    while True:
        refusal = Refused(
            "cannot fetch cluster info from peer urls: could not retrieve cluster information from "
            "the given URLs",
            "start the members that --initial-cluster names; etcdctl member list shows where",
        )
        for told in _introductions(_others(settings)):
            try:
                return joined(settings.members, settings.name, told)
            except Refused as error:
                refusal = error
        if time.monotonic() > until:
            raise refusal
        time.sleep(PAUSE_SECONDS)


def _others(settings: Settings) -> list[str]:
    """Addresses of the other members of the list, as far as they can be reached."""
    own = urls_key(texts(settings.members[settings.name]))
    lists = [texts(urls) for urls in settings.members.values() if urls_key(texts(urls)) != own]
    return [address for urls in lists if (address := address_of(urls))]


def _introductions(addresses: Iterable[str]) -> Iterator[Introduction]:
    """What those who run tell of their cluster. Who does not listen is not waited for."""
    for address in addresses:
        if not _listens(address):
            continue
        answer = ask(f"tcp://{address}", WHO_IS_THERE, ASK_SECONDS)
        if answer:
            try:
                yield msgspec.json.decode(answer, type=Introduction)
            except msgspec.MsgspecError as error:
                raise Refused(f"what {address} answers is no answer of a member") from error


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ASK_SECONDS).close()
    except OSError:
        return False
    return True
