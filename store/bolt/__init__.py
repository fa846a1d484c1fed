"""bbolt's file format, read and written: how etcd keeps its data, and what its snapshots are.

A file is pages of one size. Two meta pages come first, written in turn, each with a checksum; the
newer whole one names the root. Everything else is B+ trees of sorted keys: the root bucket's values
are headers of further buckets. Nothing but the meta pages carries a checksum, which is why etcd
sends a SHA-256 along with a snapshot.

    page     layout of pages and of what they hold
    reader   the buckets of a file and their items, each page checked before it is believed
    writer   one pass over sorted items: leaves as they come, then the branches above them

Source: go.etcd.io/bbolt, format version 2.
"""

from store.bolt.reader import BoltReader
from store.bolt.writer import BoltWriter

__all__ = ["BoltReader", "BoltWriter"]
