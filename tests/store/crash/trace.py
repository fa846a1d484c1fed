"""What a process did to its files, and which disks a crash at any moment may leave.

`shim.c` records the calls; `Disk` plays them again and knows what of them is certain:

- A file's content is certain up to its last sync; of the writes after it a prefix survives, and the
  last of those may be torn. Files are independent of each other.
- A name (creation, rename, removal) is certain once its directory was synced; of the later changes
  in one directory a prefix survives, as journals keep them in order. Directories are independent.
- The sync of a table makes its name certain, too. POSIX does not say so, but file systems do it,
  and LevelDB counts on it: it hands the manifest to the kernel before it syncs the directory.
- A kill, as against a power cut, loses nothing that was called.

Memory maps are not seen by the shim: who writes to one adds a note (`note_map`).

Source: Pillai et al., All File Systems Are Not Created Equal (OSDI 2014), for the method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from random import Random
from struct import Struct

_SIZES = Struct("<cIIQQ")
NOTES = ".notes"


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded operation; `path` is relative to the root that was watched."""

    kind: str
    path: str
    number: int
    offset: int
    text: bytes


def read_trace(path: Path, root: Path) -> list[Call]:
    """All calls, in the order in which they were done; the end of a sync has for its offset the
    number of its beginning."""
    content = path.read_bytes()
    calls: list[Call] = []
    begun: dict[tuple[int, str], int] = {}
    at, start = 0, len(str(root)) + 1
    while at < len(content):
        kind, path_size, text_size, thread, offset = _SIZES.unpack_from(content, at)
        at += _SIZES.size
        name = content[at : at + path_size].decode()[start:]
        at += path_size
        text = content[at : at + text_size]
        at += text_size
        number = len(calls) + 1
        if kind == b"r":
            text = text[start:]
        elif kind == b"s":
            begun[thread, name] = number
        elif kind == b"S":
            offset = begun[thread, name]
        calls.append(Call(kind.decode(), name, number, offset, text))
    return calls


def notes_of(calls: list[Call]) -> list[dict[str, object]]:
    """What a process has noted, in order."""
    lines = [line for call in calls if call.kind == "n" for line in call.text.splitlines()]
    return [json.loads(line) for line in lines]


def note_map(name: str, offset: int, content: bytes) -> bytes:
    """A note that these bytes of a mapped file have changed."""
    return json.dumps({"map": name, "offset": offset, "content": content.hex()}).encode()


@dataclass(slots=True)
class _File:
    """What is certain, and the writes since: (number, offset, bytes); None cuts it to `offset`."""

    certain: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, int, bytes | None]] = field(default_factory=list)

    def sync(self, before: int) -> None:
        covered = [change for change in self.since if change[0] < before]
        for _, offset, text in covered:
            _change(self.certain, offset, text)
        self.since = self.since[len(covered) :]

    def content(self, kept: int, torn: float = 0.0, *, grown: bool = False) -> bytes:
        """With so many of the uncertain writes, and this part of the next one; `grown`: the file
        has the length that all of them would have given it."""
        content = bytearray(self.certain)
        for _, offset, text in self.since[:kept]:
            _change(content, offset, text)
        if torn and kept < len(self.since):
            _, offset, text = self.since[kept]
            if text is not None:
                _change(content, offset, text[: int(len(text) * torn)])
        if grown:
            content.extend(bytes(max(0, len(self.content(len(self.since))) - len(content))))
        return bytes(content)


def _change(content: bytearray, offset: int, text: bytes | None) -> None:
    if text is None:
        content[:] = content[:offset].ljust(offset, b"\0")
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(text)] = text


@dataclass(slots=True)
class _Folder:
    """Names that are certain, and the changes since: (number, names removed, name and node)."""

    live: dict[str, _Node] = field(default_factory=dict)
    certain: dict[str, _Node] = field(default_factory=dict)
    since: list[tuple[int, str | None, tuple[str, _Node] | None]] = field(default_factory=list)

    def change(self, number: int, gone: str | None, new: tuple[str, _Node] | None) -> None:
        self.since.append((number, gone, new))
        _rename(self.live, gone, new)

    def sync(self, before: int) -> None:
        covered = [change for change in self.since if change[0] < before]
        for _, gone, new in covered:
            _rename(self.certain, gone, new)
        self.since = self.since[len(covered) :]

    def names(self, kept: int) -> dict[str, _Node]:
        names = dict(self.certain)
        for _, gone, new in self.since[:kept]:
            _rename(names, gone, new)
        return names


_Node = _File | _Folder


def _rename(names: dict[str, _Node], gone: str | None, new: tuple[str, _Node] | None) -> None:
    if gone is not None:
        names.pop(gone, None)
    if new is not None:
        names[new[0]] = new[1]


Files = dict[str, bytes | None]
"""Path to content, None for a directory; a directory comes before what is in it."""


class Disk:
    """A root directory while calls are played again."""

    def __init__(self, files: Files) -> None:
        """What the root held before the first call, all of it certain."""
        self._root = _Folder()
        for path, content in files.items():
            folder, name = self._place(path)
            node = _Folder() if content is None else _File(bytearray(content))
            folder.live[name] = folder.certain[name] = node
        self.notes: list[dict[str, object]] = []
        """Notes of the process other than those about maps."""

    def play(self, call: Call) -> None:
        """Do what the process did."""
        match call.kind:
            case "n":
                for note in notes_of([call]):
                    self._note(call.number, note)
            case "c" | "m":
                folder, name = self._place(call.path)
                node = _File() if call.kind == "c" else _Folder()
                folder.change(call.number, None, (name, node))
            case "r":
                folder, name = self._place(call.path)
                if name in folder.live:  # LevelDB opens its text log past the shim
                    new = PurePosixPath(call.text.decode()).name
                    folder.change(call.number, name, (new, folder.live[name]))
            case "u" | "d":
                folder, name = self._place(call.path)
                folder.change(call.number, name, None)
            case "w" | "t":
                text = call.text if call.kind == "w" else None
                self._written(call.path, call.number, call.offset, text)
            case "S":
                self._find(call.path).sync(call.offset)
                if call.path.endswith(".ldb"):
                    self._name_is_certain(call)
            case "s" if call.text:  # of a map
                self._written(call.path, call.number - 1, 0, call.text)

    def killed(self) -> Files:
        """What the next process finds after a kill."""
        return dict(_files(self._root, "", None, grown=False))

    def unplugged(self, chance: Random, *, grown: bool = False) -> Files:
        """The same after a power cut; which of the possible disks is up to `chance`.

        `grown`: files have their new length before what makes it up, and read as zeroes there.
        """
        return dict(_files(self._root, "", chance, grown=grown))

    def _name_is_certain(self, call: Call) -> None:
        folder, name = self._place(call.path)
        node = folder.live[name]
        made = [number for number, _, new in folder.since if new is not None and new[1] is node]
        folder.sync(max(made, default=-1) + 1)

    def _note(self, number: int, note: dict[str, object]) -> None:
        if "map" not in note:
            self.notes.append(note)
            return
        content = bytes.fromhex(str(note["content"]))
        self._written(str(note["map"]), number, int(str(note["offset"])), content)

    def _written(self, path: str, number: int, offset: int, text: bytes | None) -> None:
        node = self._find(path)
        assert isinstance(node, _File)
        node.since.append((number, offset, text))

    def _place(self, path: str) -> tuple[_Folder, str]:
        whole = PurePosixPath(path)
        folder = self._find(str(whole.parent))
        assert isinstance(folder, _Folder)
        return folder, whole.name

    def _find(self, path: str) -> _Node:
        node: _Node = self._root
        for name in PurePosixPath(path).parts:
            assert isinstance(node, _Folder)
            node = node.live[name]
        return node


def _files(
    folder: _Folder, path: str, chance: Random | None, *, grown: bool
) -> Iterator[tuple[str, bytes | None]]:
    kept = _kept(len(folder.since), chance)
    for name, node in folder.names(kept).items():
        if isinstance(node, _Folder):
            yield path + name, None
            yield from _files(node, path + name + "/", chance, grown=grown)
        else:
            torn = chance.choice([0.0, chance.random()]) if chance else 0.0
            whole = _kept(len(node.since), chance)
            yield path + name, node.content(whole, torn, grown=grown)


def _kept(count: int, chance: Random | None) -> int:
    """How many of so many uncertain changes survive: often none or all, as disks have it."""
    if chance is None:
        return count
    return chance.choice([0, count, chance.randint(0, count)])


def lay_out(files: Files, root: Path) -> None:
    """Make these files below an empty directory."""
    for name, content in files.items():
        place = root / name
        if content is None:
            place.mkdir(parents=True)
        else:
            place.write_bytes(content)
