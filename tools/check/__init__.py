"""Judges of recorded histories: what clients saw must be what an etcd could have shown.

A harness (simulator or drill) records a `History`; `check_history` gives one `Verdict` per check.
Everything here is written apart from the product: it knows etcd's documented behaviour, and shares
no line with the state machine that it judges.

    history, lines                     the record of a run, and its form as JSON lines
    convert                            between etcd's messages and such records; imported only by
                                       those who record
    model, keyspace                    what etcd answers, read a second time
    evidence, sighting, timeline       the order of all writes, found again from the history
    revision, linearizability          the two opinions on what clients were told
    watch, lease, agreement            what else was promised
    suite                              all of them, and one word for the run
"""

from __future__ import annotations

from tools.check.errors import HistoryInvalid
from tools.check.history import History, Operation, Record
from tools.check.lines import HistoryWriter, collect, read_history, write_history
from tools.check.suite import Bounds, check_history, result_of
from tools.check.verdict import Finding, Result, Verdict, describe_verdict

__all__ = [
    "Bounds",
    "Finding",
    "History",
    "HistoryInvalid",
    "HistoryWriter",
    "Operation",
    "Record",
    "Result",
    "Verdict",
    "check_history",
    "collect",
    "describe_verdict",
    "read_history",
    "result_of",
    "write_history",
]
