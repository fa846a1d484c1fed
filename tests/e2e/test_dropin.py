"""`conclave-etcd` where a fixture expects `etcd`: one member, started and ended by hand."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Papers
from tests.support.dropin import (
    CONCLAVE,
    DEADLINE_S,
    ETCD,
    INTERRUPTED,
    READY,
    TERMINATED,
    Fixture,
    Seat,
    get,
    put,
    until,
    written,
)
from tests.support.etcd_process import free_ports
from tests.support.etcdctl import Etcdctl

INSECURE = "serving client traffic insecurely; this is strongly discouraged!"


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.close()


@pytest.fixture(params=[CONCLAVE, ETCD], ids=["conclave", "etcd"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fixture]:
    """What must be so with both programs."""
    fixture = Fixture(tmp_path, request.param)
    yield fixture
    fixture.close()


@pytest.fixture
def seat() -> Seat:
    return Seat("m1")


# Life and death, as with the real etcd.


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_signal_ends_it_as_that_signal(
    either: Fixture, seat: Seat, number: int, status: int
) -> None:
    started = either.start(*seat.flags()).ready()

    started.process.send_signal(number)

    assert started.ended() == status
    assert started.line("received signal; shutting down")["signal"]
    assert started.line("closed etcd server")


def test_ready_line_means_that_requests_are_answered(either: Fixture, seat: Seat) -> None:
    started = either.start(*seat.flags()).ready()
    with seat.client() as client:
        put(client, "a", "1")
        found = get(client, "a")

    assert found == "1"
    assert started.line(INSECURE)["address"] == seat.endpoint


def test_ids_are_those_that_etcd_computes(tmp_path: Path) -> None:
    """Equal flags, equal ids: whoever noted an id finds it again."""
    seats, ids = Seat("m1"), []
    flags = [*seats.flags(), "--initial-cluster-token=a-token"]
    for program in (CONCLAVE, ETCD):
        directory = tmp_path / program[-1].rpartition("/")[2]
        directory.mkdir()
        fixture = Fixture(directory, program)
        try:
            fixture.start(*flags).ready()
            document = json.loads(seats.etcdctl.done("member", "list", "-w", "json"))
            [member] = document["members"]
            ids.append((document["header"]["cluster_id"], member))
        finally:
            fixture.close()

    assert ids[0] == ids[1]


def test_version_is_said_in_etcds_form(either: Fixture) -> None:
    ran = either.run("--version")

    names = [line.partition(":")[0] for line in ran.stdout.splitlines()]
    assert names == ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]
    assert (ran.returncode, ran.stderr) == (0, "")


def test_version_is_the_one_that_is_served(fixture: Fixture) -> None:
    assert fixture.run("--version").stdout.startswith("etcd Version: 3.6.11\n")


def test_help_lists_the_flags_and_succeeds(either: Fixture) -> None:
    ran = either.run("--help")

    assert ran.returncode == 0
    assert "  --listen-client-urls 'http://localhost:2379'\n" in ran.stdout


# What cannot be done, as with the real etcd.


def test_taken_client_port_ends_it_with_1(either: Fixture, seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", int(seat.endpoint.rpartition(":")[2]))):
        started = either.start(*seat.flags())

        assert started.ended() == 1
    assert f"listen tcp {seat.endpoint}: bind: address already in use" in {
        line.get("error") for line in started.lines()
    }


def test_taken_peer_port_ends_it_with_1(either: Fixture, seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", int(seat.peer_url.rpartition(":")[2]))):
        started = either.start(*seat.flags())

        assert started.ended() == 1


REFUSED = {
    "no advertised URLs": (["--listen-client-urls=http://127.0.0.1:1"], 1),
    "a name to bind": (
        ["--listen-client-urls=http://a.example:1", "--advertise-client-urls=http://a.example:1"],
        1,
    ),
    "a scheme": (["--listen-client-urls=tcp://127.0.0.1:1"], 2),
    "no port": (["--listen-client-urls=http://127.0.0.1"], 2),
    "a path": (["--advertise-client-urls=http://127.0.0.1:1/x"], 2),
    "not in the cluster": (["--name=a", "--initial-cluster=b=http://localhost:2380"], 1),
    "another peer URL": (["--initial-cluster=default=http://localhost:1"], 1),
    "a URL twice": (["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"], 1),
    "heartbeats": (["--heartbeat-interval=100", "--election-timeout=400"], 1),
    "no heartbeat": (["--heartbeat-interval=0"], 1),
    "an age": (["--election-timeout=60000"], 1),
    "no number": (["--heartbeat-interval=x"], 2),
    "a negative count": (["--snapshot-count=-1"], 2),
    "no value": (["--name"], 2),
    "a switch": (["--pre-vote=maybe"], 2),
    "a word": (["start"], 1),
    "a logger": (["--logger=print"], 1),
    "a state": (["--initial-cluster-state=old"], 2),
    "discovery": (["--discovery-srv=example.org"], 1),
}


@pytest.mark.parametrize("flags", REFUSED)
def test_refused_flags_have_etcds_exit_code(either: Fixture, flags: str) -> None:
    words, code = REFUSED[flags]

    ran = either.run(*words)

    assert ran.returncode == code, ran.stderr


def test_flag_beside_its_variable_is_refused(either: Fixture) -> None:
    ran = either.run("--name=a", ETCD_NAME="b")

    assert ran.returncode == 1
    assert "conflicting environment variable" in ran.stderr
    assert "ETCD_NAME" in ran.stderr


# What fixtures rely on.


def test_flags_by_environment_one_dash_and_separate_values(fixture: Fixture) -> None:
    client, peer = free_ports(2)
    started = fixture.start(
        "-name",
        "fred",
        "--listen-peer-urls",
        f"http://localhost:{peer}",
        f"-initial-advertise-peer-urls=http://localhost:{peer}",
        ETCD_LISTEN_CLIENT_URLS=f"http://localhost:{client}",
        ETCD_ADVERTISE_CLIENT_URLS=f"http://localhost:{client}",
        ETCD_DATA_DIR="elsewhere/deep",
    ).ready()

    ctl = Etcdctl([f"127.0.0.1:{client}"])
    [member] = json.loads(ctl.done("member", "list", "-w", "json"))["members"]
    assert member["name"] == "fred"
    assert member["clientURLs"] == [f"http://localhost:{client}"]
    assert member["peerURLs"] == [f"http://localhost:{peer}"]
    assert (fixture.directory / "elsewhere/deep/member").is_dir()
    assert started.terminate() == TERMINATED


def test_what_is_unknown_or_not_served_is_warned_about(fixture: Fixture, seat: Seat) -> None:
    started = fixture.start(
        *seat.flags(),
        "--experimental-new-thing=7",
        "--another",
        "value",
        "--pre-vote=false",
        "--pre-vote=true",
        "--unsafe-no-fsync",
        ETCD_NONSENSE="1",
    ).ready()

    warned = [line for line in started.lines() if line["level"] == "warn"]
    flags = {line["flag"]: line["value"] for line in warned if "flag" in line}
    assert flags == {
        "experimental-new-thing": "7",
        "another": "value",
        "unsafe-no-fsync": "True",
    }
    assert any(line.get("environment-variable") == "ETCD_NONSENSE=1" for line in warned)


def test_data_is_in_a_directory_by_name_and_stays(fixture: Fixture, seat: Seat) -> None:
    fixture.start(*seat.flags()).ready().kill()
    again = fixture.start(*seat.flags()).ready()
    with seat.client() as client:
        put(client, "a", "1")
    again.kill()

    third = fixture.start(*seat.flags(), "--initial-cluster-token=other").ready()
    with seat.client() as client:
        found = get(client, "a")

    assert found == "1"
    assert (fixture.directory / "m1.etcd/member").is_dir()
    first_ids, later_ids = (each.line("starting local member") for each in (again, third))
    assert first_ids["cluster-id"] == later_ids["cluster-id"]


def test_data_of_etcd_is_refused_and_left_alone(tmp_path: Path, seat: Seat) -> None:
    etcd, fixture = Fixture(tmp_path, ETCD), Fixture(tmp_path)
    try:
        etcd.start(*seat.flags()).ready().terminate()
        before = sorted(tmp_path.rglob("*"))

        ran = fixture.run(*seat.flags())

        [said] = [json.loads(line) for line in ran.stderr.splitlines() if '"fatal"' in line]
        assert ran.returncode == 1
        assert "was made by etcd" in said["error"]
        assert "--from-snapshot" in said["hint"]
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        etcd.close()
        fixture.close()


def test_data_in_use_is_refused(fixture: Fixture, seat: Seat) -> None:
    fixture.start(*seat.flags(), "--data-dir=shared").ready()

    ran = fixture.run(*Seat("m2").flags(), "--data-dir=shared")

    assert ran.returncode == 1
    assert "is in use by process" in ran.stderr


def test_lost_database_is_not_begun_anew(fixture: Fixture, seat: Seat) -> None:
    fixture.start(*seat.flags()).ready().terminate()
    member = fixture.directory / "m1.etcd/member"
    (member / "db").rename(fixture.directory / "away")
    (member / "db.mark").unlink()

    ran = fixture.run(*seat.flags())

    assert ran.returncode == 1
    assert "there is no data in" in ran.stderr


def test_log_goes_where_it_is_told_in_the_form_that_is_wanted(fixture: Fixture, seat: Seat) -> None:
    started = fixture.start(*seat.flags(), "--log-outputs=a.log,stdout", "--log-level=error")
    with seat.client() as client:
        written(client, "a", "1")
    started.terminate()
    quiet = (fixture.directory / "a.log").read_text()
    fixture.start(*seat.flags(), "--log-outputs=b.log", "--log-format=console")
    log = fixture.directory / "b.log"

    assert quiet == ""
    until(lambda: log.exists() and f"\tinfo\t{READY}\n" in log.read_text())


def test_several_client_urls_are_all_served(fixture: Fixture, seat: Seat) -> None:
    (further,) = free_ports(1)
    flags = [flag for flag in seat.flags() if "client-urls" not in flag]
    both = f"{seat.client_url},http://127.0.0.1:{further}"
    fixture.start(
        *flags, f"--listen-client-urls={both}", f"--advertise-client-urls={seat.client_url}"
    ).ready()

    health = urllib.request.urlopen(f"http://127.0.0.1:{further}/health", timeout=DEADLINE_S)
    assert json.load(health)["health"] == "true"
    assert seat.etcdctl.done("endpoint", "health")


def test_certificate_is_shown_and_one_is_asked_for(
    either: Fixture, seat: Seat, tmp_path: Path
) -> None:
    papers = Papers(tmp_path / "papers")
    url = seat.client_url.replace("http:", "https:")
    plain = [flag for flag in seat.flags() if "client-urls" not in flag]
    started = either.start(
        *plain,
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--cert-file={papers.cert}",
        f"--key-file={papers.key}",
        f"--trusted-ca-file={papers.ca}",
        "--client-cert-auth",
    )
    started.line("serving client traffic securely")
    ctl, trust = Etcdctl([url]), f"--cacert={papers.ca}"

    shown = ctl.run(
        [trust, f"--cert={papers.client_cert}", f"--key={papers.client_key}", "get", "a"]
    )
    hidden = ctl.run([trust, "--command-timeout=1s", "get", "a"])

    assert (shown.code, hidden.code) == (0, 1)


def test_readiness_is_told_to_an_init_daemon(fixture: Fixture, seat: Seat) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(fixture.directory / "notify"))
        daemon.settimeout(DEADLINE_S)
        fixture.start(*seat.flags(), NOTIFY_SOCKET=str(fixture.directory / "notify"))

        assert daemon.recv(100) == b"READY=1"


def test_process_that_was_started_is_the_member(fixture: Fixture, seat: Seat) -> None:
    started = fixture.start(*seat.flags()).ready()

    assert Path(f"/proc/{started.pid}/comm").read_text() == "conclave-etcd\n"
    assert not Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()
