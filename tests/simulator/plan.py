"""What a seed stands for: the cluster, its limits, and which faults may happen how often.

Every seed draws its own subset of faults, half of them on average, and its own rates: a run with
all faults at once rarely gets anywhere, and a run without any finds nothing. Five families lean
towards one kind of trouble each.

    steady      faults only
    churn       members come and go
    tiny        every limit at its smallest, so that whatever can be full is full
    compaction  the log and the history are cut every few entries
    leases      leases, keep-alives and watches above all
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from node import loop, snapshots
from node.config import Limits, Ticks
from store.config import StoreConfig

FAMILIES = ("steady", "churn", "tiny", "compaction", "leases")
SIZES = (1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7)
STEPS = 5_000
TICKS = Ticks(tick_ms=50, heartbeat=2, election=10)
"""An election timeout is the product's 500 ms, in fewer ticks: time costs turns."""
PACE = ("turn", "sync", "tick")
"""What must happen for anything to happen; the rest of the actions are faults and requests."""

CONSTANTS: dict[str, tuple[Any, float]] = {
    "FRAMES_PER_TURN": (loop, loop.FRAMES_PER_TURN),
    "ENTRIES_PER_SLICE": (loop, loop.ENTRIES_PER_SLICE),
    "SLICES_PER_TURN": (loop, loop.SLICES_PER_TURN),
    "COMPACT_RECORDS": (loop, loop.COMPACT_RECORDS),
    "CATCH_UP_EVENTS": (loop, loop.CATCH_UP_EVENTS),
    "WINDOW": (snapshots, snapshots.WINDOW),
    "RETRY_SECONDS": (snapshots, snapshots.RETRY_SECONDS),
    "SILENCE_SECONDS_MAX": (snapshots, snapshots.SILENCE_SECONDS_MAX),
}
"""What a turn and a stream take at most, and the module that says so."""


@dataclass(frozen=True)
class Weather:
    """How bad the network may get. Shares are of frames, times are in milliseconds."""

    loss: float = 0.0
    duplicates: float = 0.0
    copies_max: int = 1
    repeat_ms: int = 0
    """How much later a copy may come."""
    reorder_steps: int = 0
    delay_ms: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a run begins."""

    seed: int
    family: str = "steady"
    members: int = 3
    spares: int = 0
    """Members that may join."""
    steps: int = STEPS
    ticks: Ticks = TICKS
    limits: Limits = field(default_factory=Limits)
    store_config: StoreConfig = field(default_factory=StoreConfig)
    constants: Mapping[str, float] = field(default_factory=dict)
    """Of CONSTANTS, those that differ."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """How often each action happens, relative to the others; one that is left out never does."""
    skipped: frozenset[str] = frozenset()
    """Actions that are drawn and do nothing: everything else happens as it would have."""
    skipped_steps: frozenset[int] = frozenset()
    """The same for single actions, by the step in which they are drawn."""
    weather: Weather = Weather()
    down_ms: tuple[int, int] = (0, 1_000)
    """How long a member that was killed stays away, from and to."""
    pause_ms: tuple[int, int] = (100, 4_000)
    tick_rates: tuple[float, ...] = ()
    """Of each member; fewer = the others are exact."""
    stable_timeouts: int = 20
    """How many election timeouts the calm cluster must keep its leader."""

    @property
    def timeout_ms(self) -> int:
        """The election timeout T."""
        return self.ticks.election * self.ticks.tick_ms

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The product's constants are those of the plan."""
        for name, (module, usual) in CONSTANTS.items():
            setattr(module, name, self.constants.get(name, usual))
        try:
            yield
        finally:
            for name, (module, usual) in CONSTANTS.items():
                setattr(module, name, usual)

    def without(self, *actions: str) -> Plan:
        """The same plan, but these actions do nothing."""
        return replace(self, skipped=self.skipped.union(actions))

    def describe(self) -> str:
        """A few lines."""
        faults = sorted(set(self.weights) - self.skipped)
        usual, usual_store = Limits(), StoreConfig()
        limits = {
            name: getattr(self.limits, name)
            for name in self.limits.__struct_fields__
            if getattr(self.limits, name) != getattr(usual, name)
        }
        store = {
            name: getattr(self.store_config, name)
            for name in self.store_config.__slots__
            if getattr(self.store_config, name) != getattr(usual_store, name)
        }
        return "\n".join(
            [
                f"seed {self.seed}: {self.family}, {self.members} members, {self.spares} spares, "
                f"{self.steps} steps, tick {self.ticks.tick_ms} ms, "
                f"heartbeat {self.ticks.heartbeat}, election {self.ticks.election}",
                f"  actions {' '.join(f'{name}:{self.weights[name]:.3g}' for name in faults)}",
                f"  {self.weather}",
                f"  down {self.down_ms} ms, pause {self.pause_ms} ms, tick rates {self.tick_rates}",
                f"  limits {limits}",
                f"  store {store}, per turn {dict(self.constants)}",
            ]
        )


def draw(seed: int, weights: Mapping[str, float], family: str | None = None) -> Plan:
    """The plan of a seed; `weights` are the usual ones of all actions."""
    chance = Random(f"plan/{seed}")
    drawn = chance.choice(FAMILIES)
    family = family or drawn
    members = chance.choice(SIZES)
    ticks = Ticks(
        tick_ms=50, heartbeat=chance.choice([1, 2, 3]), election=chance.choice([10, 10, 12])
    )
    limits, store_config, constants = _limits(chance, family)
    down_ms = chance.choice([(0, 100), (0, 1_000), (0, 1_000), (2_000, 20_000)])
    drawn_weights = _swarm(chance, weights, family, members)
    if chance.random() < 0.15:
        _hand_over(drawn_weights)
    if down_ms[1] > 10_000:  # long and few, else nobody is ever there
        for name in KILLS:
            drawn_weights[name] = drawn_weights.get(name, 0.0) / 5
    return Plan(
        seed=seed,
        family=family,
        members=members,
        spares=chance.randrange(2, 5) if family == "churn" else 0,
        ticks=ticks,
        limits=limits,
        store_config=store_config,
        constants=constants,
        weights=drawn_weights,
        weather=_weather(chance),
        down_ms=down_ms,
        pause_ms=chance.choice([(50, 500), (100, 4_000), (2_000, 20_000)]),
        tick_rates=_tick_rates(chance, members),
        stable_timeouts=100 if chance.random() < 0.2 else 15,
    )


KILLS = ("kill", "kill_leader", "kill_all")
CHURN = (
    "add",
    "promote",
    "remove",
    "replace",
    "race",
    "readd",
    "promote_and_transfer",
    "borrow_url",
    "expel",
    "estrange",
    "hang_behind_change",
)
FAULTS_BY_FAMILY: dict[str, tuple[str, ...]] = {
    "steady": (),
    "churn": (*CHURN, "strand"),
    "tiny": (),
    "compaction": ("compact", "kill", "outrun"),
    "leases": ("lease", "watch"),
}
"""What a family never does without."""
REQUESTS = ("put", "read", "txn", "delete", "compact", "lease", "watch", "hash")
"""No faults, however harsh the run is."""


def _swarm(
    chance: Random, weights: Mapping[str, float], family: str, members: int
) -> dict[str, float]:
    """A subset of the actions at rates of its own."""
    drawn: dict[str, float] = {}
    kept = FAULTS_BY_FAMILY[family]
    # Most of what is worth seeing needs a cluster that gets somewhere between two faults: at 1.0
    # there are several faults a second, and clients have one answer in ten.
    harshness = chance.choice([0.05, 0.1, 0.3, 1.0])
    turns = chance.choice([0.8, 1.5, 3.0])  # of each member between two ticks
    for name, weight in weights.items():
        on, factor = chance.random() < 0.5, chance.choice([0.3, 1.0, 1.0, 2.0])
        if name in PACE:
            drawn[name] = weight * (members * turns if name != "tick" else 1.0)
        elif name in CHURN and family != "churn":
            continue
        elif on or name in kept or name in ("put", "read"):
            drawn[name] = weight * factor * (1.0 if name in REQUESTS else harshness)
    return drawn


def _hand_over(weights: dict[str, float]) -> None:
    """Leaders come, go and come back, most of them alive: what they took along is proposed again,
    and forwards reach leaders that were meant, or others."""
    weights.update(transfer=3.0, isolate_leader=1.0, weather=1.5, pause=1.0)
    for name in KILLS:
        weights.pop(name, None)


def _weather(chance: Random) -> Weather:
    def maybe(value: Any, otherwise: Any) -> Any:
        return value if chance.random() < 0.5 else otherwise

    return Weather(
        loss=maybe(chance.uniform(0, 0.3), 0.0),
        duplicates=maybe(chance.uniform(0, 0.5), 0.0),
        copies_max=chance.randrange(1, 4),
        repeat_ms=chance.choice([100, 1_000, 10_000, 60_000]),
        reorder_steps=maybe(chance.randrange(51), 0),
        delay_ms=maybe(chance.randrange(1, 101), 0),
    )


def _tick_rates(chance: Random, members: int) -> tuple[float, ...]:
    rates = tuple(chance.choice([0.5, 0.75, 1.0, 1.5, 2.0]) for _ in range(members))
    return rates if chance.random() < 0.3 else ()


def _limits(chance: Random, family: str) -> tuple[Limits, StoreConfig, dict[str, float]]:
    """Small enough that a run meets most of them, except in the steady family."""
    limits = Limits(
        log_entries_max=chance.choice([40, 200]),
        log_entries_kept=chance.choice([8, 30]),
        snapshot_chunk_bytes=chance.choice([300, 2_000, 100_000]),
        snapshot_streams_max=chance.choice([1, 2]),
        request_timeout_ms=chance.choice([1_500, 1_500, 10_000]),
        watch_progress_notify_ms=1_000,
        append_bytes_max=chance.choice([300, 4_000, 200_000]),
        inflight_messages_max=chance.choice([2, 8, 64]),
        request_bytes_max=10_000,
        uncommitted_bytes_max=chance.choice([20_000, 1_000_000]),
        apply_bytes_max=chance.choice([400, 10_000]),
    )
    store_config = StoreConfig(
        queue_batches_max=chance.choice([2, 5, 1_024]),
        tail_bytes_max=chance.choice([500, 100_000]),
        sweep_records=chance.choice([8, 100]),
    )
    constants: dict[str, float] = {}
    if store_config.queue_batches_max < 10:
        constants["RETRY_SECONDS"] = 0.1  # what a full queue refuses comes again after that
    if family == "tiny":
        limits, store_config, constants = _tiny(chance, limits)
    elif family == "compaction":
        kept = chance.randrange(1, 10)
        limits = with_limits(
            limits,
            log_entries_max=chance.randrange(kept + 1, 50),
            log_entries_kept=kept,
            log_entries_held_max=chance.choice([2 * kept, 100_000]),
        )
    elif family == "leases":
        limits = with_limits(limits, lease_checkpoint_ms=1_000)
    if chance.random() < 0.5:
        constants["SILENCE_SECONDS_MAX"] = 1.0  # streams are given up while their receivers live
    return limits, store_config, constants


def _tiny(chance: Random, limits: Limits) -> tuple[Limits, StoreConfig, dict[str, float]]:
    limits = with_limits(
        limits,
        append_bytes_max=chance.choice([1, 64, 64]),
        inflight_messages_max=1,
        inflight_bytes_max=chance.choice([64, 300]),
        uncommitted_bytes_max=10_001,
        apply_bytes_max=chance.choice([1, 64]),
        pending_reads_max=chance.choice([1, 3]),
        pending_proposals_max=chance.choice([1, 4]),
        apply_lag_entries_max=chance.choice([1, 5]),
        snapshot_chunk_bytes=64,
        snapshot_streams_max=1,
        log_entries_max=10,
        log_entries_kept=2,
        log_entries_held_max=chance.choice([2, 20]),
    )
    store_config = StoreConfig(queue_batches_max=1, tail_bytes_max=64, sweep_records=1)
    constants: dict[str, float] = {
        "FRAMES_PER_TURN": chance.choice([1, 2]),
        "ENTRIES_PER_SLICE": 1,
        "SLICES_PER_TURN": chance.choice([1, 2]),
        "COMPACT_RECORDS": chance.choice([1, 3]),
        "CATCH_UP_EVENTS": chance.choice([1, 3]),
        "WINDOW": chance.choice([1, 2, 4]),
        "RETRY_SECONDS": 0.1,
    }
    return limits, store_config, constants


def with_limits(limits: Limits, **changes: int) -> Limits:
    """The same limits but for these."""
    values = {name: getattr(limits, name) for name in limits.__struct_fields__}
    return Limits(**{**values, **changes})
