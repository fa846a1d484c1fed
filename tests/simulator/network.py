"""The network of a run: what it loses, repeats, delays and holds back, and who reaches whom.

Time is counted in steps of the run, so that a frame may arrive between any two of them. The real
mesh keeps the order of a channel and delivers at most once. Raft must bear worse and gets it here:
its messages are reordered and repeated, forwarded proposals included. What is no message of Raft
(calls, chunks of snapshots) relies on the promise of the mesh: it is lost and delayed, but never
repeated, and chunks keep their order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from random import Random

import msgspec

from node.peers import Parcel
from tests.simulator.plan import Weather
from tests.simulator.trace import Trace
from transport.frame import Channel
from transport.memory import Letter, MemoryNetwork

CALM = Weather()
CALLS = b"\x94\x00\x00\x90"
"""How a parcel begins that carries calls and no message of Raft."""

_decode = msgspec.msgpack.Decoder(Parcel).decode


class SimulatedNetwork(MemoryNetwork):
    """A memory network with weather."""

    def __init__(self, notify: Callable[[int], None], chance: Random, trace: Trace) -> None:
        super().__init__(notify=notify)
        self.weather = CALM
        self.era = 0
        """Counts what has replaced all cuts, so that whoever made them knows when to end them."""
        self.steps_per_ms = 0.1
        """How many steps of the run a millisecond takes, on average."""
        self._chance = chance
        self._trace = trace
        self._clogs: dict[tuple[int, int], int] = {}
        self._bulk_due: dict[tuple[int, int], int] = {}

    # What the faults do.

    def steps(self, milliseconds: float) -> int:
        """A time in steps."""
        return int(milliseconds * self.steps_per_ms)

    def open(self, sender: int, to: int) -> bool:
        """Whether frames go this way at once, if the weather lets them."""
        return (sender, to) not in self._cuts and (sender, to) not in self._clogs

    def cut_all(self, ways: Iterable[tuple[int, int]]) -> None:
        """Cut exactly these ways; other cuts end."""
        self._cuts = set(ways)
        self.era += 1

    def cut_more(self, ways: Iterable[tuple[int, int]]) -> None:
        """Cut these ways as well."""
        self._cuts.update(ways)

    def join_ways(self, ways: Iterable[tuple[int, int]]) -> None:
        """End the cuts of these ways."""
        self._cuts.difference_update(ways)

    def clog(self, sender: int, to: int, milliseconds: float) -> None:
        """Hold back what goes this way for a while."""
        self._clogs[sender, to] = self._step + self.steps(milliseconds)

    def calm_down(self) -> None:
        """No cut, clog or weather any more; what is on its way arrives with the next step."""
        self.heal()
        self._clogs.clear()
        self.weather = CALM
        self._delayed = [(self._step, order, letter) for _, order, letter in self._delayed]
        heapq.heapify(self._delayed)

    # What becomes of a frame.

    def post(self, letter: Letter) -> None:
        """Take a letter and decide about its copies."""
        trace = self._trace
        trace.sent(letter.sender, letter.to, letter.payload)
        way = (letter.sender, letter.to)
        lost = way in self._cuts
        weather = self.weather
        if not lost and weather is CALM and not self._clogs:
            if trace.shown:
                self._tell(letter, "sends")
            self._deliver(letter)
            return
        lost = lost or self._chance.random() < weather.loss
        if trace.shown:
            self._tell(letter, "loses" if lost else "sends")
        if not lost:
            self._send(letter, self._clogged(way) + self._delay(weather))
        if weather.duplicates and self._chance.random() < weather.duplicates:
            self._repeat(letter, weather)

    def _send(self, letter: Letter, delay: int) -> None:
        due = self._step + delay
        if letter.channel is Channel.BULK:
            way = (letter.sender, letter.to)
            due = self._bulk_due[way] = max(due, self._bulk_due.get(way, 0))
        if due <= self._step:
            self._deliver(letter)
            return
        self._order += 1
        heapq.heappush(self._delayed, (due, self._order, letter))

    def _clogged(self, way: tuple[int, int]) -> int:
        until = self._clogs.get(way)
        if until is None:
            return 0
        if until <= self._step:
            del self._clogs[way]
            return 0
        return until - self._step

    def _delay(self, weather: Weather) -> int:
        delay = 0
        if weather.reorder_steps:
            delay += self._chance.randrange(weather.reorder_steps + 1)
        if weather.delay_ms:
            delay += self.steps(self._chance.expovariate(1 / weather.delay_ms))
        return delay

    def _repeat(self, letter: Letter, weather: Weather) -> None:
        """Send copies later; who was cut off by then, or before, may get one all the same."""
        if not repeatable(letter):
            return
        for _ in range(self._chance.randrange(1, weather.copies_max + 1)):
            late = self._chance.random() ** 3 * weather.repeat_ms
            self._send(letter, 1 + self.steps(late))

    def _tell(self, letter: Letter, verb: str) -> None:
        facts: dict[str, object] = {"to": letter.to, "channel": letter.channel.name}
        if letter.channel is not Channel.BULK:
            parcel = _decode(letter.payload)
            said: Sequence[object] = [*parcel.messages, *parcel.calls]
            facts["said"] = "; ".join(describe_message(message) for message in said)
        else:
            facts["bytes"] = len(letter.payload)
        self._trace.show(letter.sender, verb, facts)


def repeatable(letter: Letter) -> bool:
    """Whether a frame may arrive twice: it holds messages of Raft, which bears that."""
    return letter.channel is not Channel.BULK and not letter.payload.startswith(CALLS)


def describe_message(message: object) -> str:
    """One message in a few words: its fields, and of lists their length."""
    fields = msgspec.structs.asdict(message)  # type: ignore[arg-type]
    told = [
        f"{name}={f'[{len(value)}]' if isinstance(value, list | bytes) else value}"
        for name, value in fields.items()
        if name not in ("sender", "to") and value not in (0, False)
    ]
    return f"{type(message).__name__}({' '.join(told)})"
