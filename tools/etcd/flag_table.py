"""Every flag that etcd 3.6 has: its kind, its default, and what becomes of it here.

The sections are etcd's. What is not served is listed with the reason, so that a fixture which sets
it starts, and its log says what was passed over. Refused is only what would start something else
than was asked for.

Source: etcd 3.6 server/etcdmain/help.go, server/embed/config.go (AddFlags).
"""

from __future__ import annotations

from tools.etcd.flag import Flag, Kind, Use

TEXT, SWITCH, COUNT, NUMBER = Kind.TEXT, Kind.SWITCH, Kind.COUNT, Kind.NUMBER
SPAN, URLS = Kind.SPAN, Kind.URLS
LEVELDB = "the data is in LevelDB, and every write is synced"
ALWAYS = "it is always so"
LOOPBACK = "peers speak ZeroMQ over loopback, without TLS"
FIXED = "fixed here"
ABSENT = "not served"
OTHER_BEGINNING = "say who the members are with --initial-cluster"


def _idle(reason: str, *flags: tuple[str, Kind, str]) -> tuple[Flag, ...]:
    return tuple(Flag(name, kind, default, reason, Use.IDLE) for name, kind, default in flags)


def _refused(reason: str, *flags: tuple[str, Kind, str]) -> tuple[Flag, ...]:
    return tuple(Flag(name, kind, default, reason, Use.REFUSED) for name, kind, default in flags)


SECTIONS: dict[str, tuple[Flag, ...]] = {
    "Member": (
        Flag("name", TEXT, "default", "What this member is called."),
        Flag("data-dir", TEXT, "", "Where its data is; NAME.etcd unless given."),
        Flag("listen-peer-urls", URLS, "http://localhost:2380", "Where other members reach it."),
        Flag("listen-client-urls", URLS, "http://localhost:2379", "Where clients reach it."),
        Flag("heartbeat-interval", COUNT, "100", "Milliseconds between two heartbeats."),
        Flag("election-timeout", COUNT, "1000", "Milliseconds without a leader that end patience."),
        Flag("snapshot-count", COUNT, "10000", "Applied entries after which the log is compacted."),
        Flag("quota-backend-bytes", NUMBER, "0", "Bytes of data that are too many; 0 = 2 GiB."),
        Flag("max-txn-ops", COUNT, "128", "Operations that a transaction may have."),
        Flag("max-request-bytes", COUNT, "1572864", "Bytes that a request may have."),
        Flag("max-concurrent-streams", COUNT, "4294967295", "Open at once on a connection."),
        Flag("grpc-keepalive-min-time", SPAN, "5s", "Who pings more often is sent away."),
        Flag("grpc-keepalive-interval", SPAN, "2h0m0s", "Silence after which clients are pinged."),
        Flag("grpc-keepalive-timeout", SPAN, "20s", "Silence after that which cuts them off."),
        *_idle(
            LEVELDB,
            ("wal-dir", TEXT, ""),
            ("max-wals", COUNT, "5"),
            ("max-snapshots", COUNT, "5"),
            ("memory-mlock", SWITCH, "false"),
            ("backend-bbolt-freelist-type", TEXT, "map"),
            ("backend-batch-interval", SPAN, "0s"),
            ("backend-batch-limit", NUMBER, "0"),
        ),
        *_idle(ALWAYS, ("initial-election-tick-advance", SWITCH, "true")),
        *_idle(ALWAYS, ("enable-grpc-gateway", SWITCH, "true")),
        *_idle(
            ABSENT,
            ("listen-client-http-urls", URLS, ""),
            ("socket-reuse-port", SWITCH, "false"),
            ("socket-reuse-address", SWITCH, "false"),
            ("feature-gates", TEXT, ""),
        ),
        *_idle(LOOPBACK, ("raft-read-timeout", SPAN, "5s"), ("raft-write-timeout", SPAN, "5s")),
    ),
    "Clustering": (
        Flag(
            "initial-advertise-peer-urls",
            URLS,
            "http://localhost:2380",
            "What the other members are told to dial.",
        ),
        Flag(
            "initial-cluster",
            TEXT,
            "default=http://localhost:2380",
            "NAME=URL of every member, when the cluster begins or this one joins.",
        ),
        Flag("initial-cluster-state", Kind.STATE, "new", "new, or existing: it was added."),
        Flag("initial-cluster-token", TEXT, "etcd-cluster", "Makes the ids of clusters differ."),
        Flag(
            "advertise-client-urls",
            URLS,
            "http://localhost:2379",
            "What clients are told to dial.",
        ),
        *_idle(
            ALWAYS,
            ("strict-reconfig-check", SWITCH, "true"),
            ("pre-vote", SWITCH, "true"),
        ),
        Flag("auto-compaction-retention", TEXT, "0", "History that is kept; 0 = all of it."),
        Flag("auto-compaction-mode", TEXT, "periodic", "periodic, or revision: what is counted."),
        *_refused(
            OTHER_BEGINNING,
            ("discovery", TEXT, ""),
            ("discovery-token", TEXT, ""),
            ("discovery-endpoints", TEXT, ""),
            ("discovery-srv", TEXT, ""),
            ("discovery-srv-name", TEXT, ""),
        ),
        *_idle(
            ABSENT,
            ("discovery-fallback", TEXT, "exit"),
            ("discovery-proxy", TEXT, ""),
            ("discovery-dial-timeout", SPAN, "2s"),
            ("discovery-request-timeout", SPAN, "5s"),
            ("discovery-keepalive-time", SPAN, "2s"),
            ("discovery-keepalive-timeout", SPAN, "6s"),
            ("discovery-insecure-transport", SWITCH, "true"),
            ("discovery-insecure-skip-tls-verify", SWITCH, "false"),
            ("discovery-cert", TEXT, ""),
            ("discovery-key", TEXT, ""),
            ("discovery-cacert", TEXT, ""),
            ("discovery-user", TEXT, ""),
            ("discovery-password", TEXT, ""),
        ),
    ),
    "Security": (
        Flag("cert-file", TEXT, "", "The certificate that clients are shown."),
        Flag("key-file", TEXT, "", "Its key."),
        Flag("client-cert-auth", SWITCH, "false", "Clients have to show a certificate."),
        Flag("trusted-ca-file", TEXT, "", "Who vouches for the clients."),
        Flag("cors", TEXT, "*", "Origins whose pages may read over HTTP; * = any."),
        *_idle(
            ABSENT,
            ("client-cert-file", TEXT, ""),
            ("client-key-file", TEXT, ""),
            ("client-crl-file", TEXT, ""),
            ("client-cert-allowed-hostname", TEXT, ""),
            ("auto-tls", SWITCH, "false"),
            ("self-signed-cert-validity", COUNT, "1"),
            ("cipher-suites", TEXT, ""),
            ("host-whitelist", TEXT, "*"),
            ("tls-min-version", TEXT, "TLS1.2"),
            ("tls-max-version", TEXT, ""),
        ),
        *_idle(
            LOOPBACK,
            ("peer-cert-file", TEXT, ""),
            ("peer-key-file", TEXT, ""),
            ("peer-client-cert-auth", SWITCH, "false"),
            ("peer-client-cert-file", TEXT, ""),
            ("peer-client-key-file", TEXT, ""),
            ("peer-trusted-ca-file", TEXT, ""),
            ("peer-cert-allowed-cn", TEXT, ""),
            ("peer-cert-allowed-hostname", TEXT, ""),
            ("peer-auto-tls", SWITCH, "false"),
            ("peer-crl-file", TEXT, ""),
            ("peer-skip-client-san-verification", SWITCH, "false"),
        ),
    ),
    "Auth": (
        Flag("auth-token", TEXT, "simple", "simple, or jwt,sign-method=…,priv-key=FILE,…"),
        Flag("bcrypt-cost", COUNT, "10", "Of the passwords' hashes, 4 to 31."),
        Flag("auth-token-ttl", COUNT, "300", "Seconds that a simple token lives unused."),
    ),
    "Profiling and Monitoring": (
        *_idle("they are at the client URLs", ("listen-metrics-urls", URLS, "")),
        *_idle(ABSENT, ("enable-pprof", SWITCH, "false")),
        Flag("metrics", TEXT, "basic", "extensive: with the time of each call."),
    ),
    "Logging": (
        Flag("log-level", TEXT, "info", "debug, info, warn, error, panic or fatal."),
        Flag("log-outputs", TEXT, "default", "stderr, stdout or files, with commas between."),
        Flag("log-format", TEXT, "json", "json or console."),
        Flag("logger", TEXT, "zap", "Only zap: the form of the lines."),
        *_idle(
            ABSENT,
            ("enable-log-rotation", SWITCH, "false"),
            ("log-rotation-config-json", TEXT, ""),
            ("warning-unary-request-duration", SPAN, "300ms"),
        ),
    ),
    "Distributed tracing": _idle(
        ABSENT,
        ("enable-distributed-tracing", SWITCH, "false"),
        ("distributed-tracing-address", TEXT, "localhost:4317"),
        ("distributed-tracing-service-name", TEXT, "etcd"),
        ("distributed-tracing-instance-id", TEXT, ""),
        ("distributed-tracing-sampling-rate", NUMBER, "0"),
    ),
    "Features": (
        Flag("corrupt-check-time", SPAN, "0s", "How often states are compared; 0s = every minute."),
        Flag("watch-progress-notify-interval", SPAN, "10m0s", "How often watchers hear so."),
        Flag("snapshot-catchup-entries", COUNT, "5000", "Entries kept for slow followers."),
        *_idle(ALWAYS, ("compact-hash-check-time", SPAN, "1m0s")),
        *_idle(
            LEVELDB,
            ("compaction-batch-limit", NUMBER, "1000"),
            ("compaction-sleep-interval", SPAN, "0s"),
            ("bootstrap-defrag-threshold-megabytes", COUNT, "0"),
        ),
        *_idle(
            FIXED,
            ("warning-apply-duration", SPAN, "100ms"),
            ("max-learners", NUMBER, "1"),
            ("downgrade-check-time", SPAN, "5s"),
        ),
    ),
    "Unsafe feature": (
        *_idle(LEVELDB, ("unsafe-no-fsync", SWITCH, "false")),
        *_refused(
            "begin a new cluster with `conclave up --from-snapshot FILE`",
            ("force-new-cluster", SWITCH, "false"),
        ),
    ),
    "Program": (
        Flag("version", SWITCH, "false", "Print the version and leave."),
        *_refused("give the same as flags or as environment", ("config-file", TEXT, "")),
    ),
}
FLAGS = {flag.name: flag for flags in SECTIONS.values() for flag in flags}


def help_lines() -> list[str]:
    """What `--help` prints: sections and flags as etcd lays them out."""
    lines: list[str] = []
    for section, flags in SECTIONS.items():
        lines += ["", f"{section}:"]
        for flag in flags:
            lines.append(f"  --{flag.name} '{flag.default}'")
            note = {Use.SERVED: "", Use.IDLE: "Has no effect: ", Use.REFUSED: "Refused: "}[flag.use]
            lines.append(f"    {note}{flag.help}")
    return lines


USAGE = """Usage:

  conclave-etcd [flags]
    Start one member, with etcd's flags and ETCD_* variables.

  conclave-etcd --version
    Show the version of etcd that is served.

  conclave-etcd -h | --help
    Show the flags.
"""
