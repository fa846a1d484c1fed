"""Judges of recorded histories: what clients saw must be what an etcd could have shown.

A harness (simulator or drill) records a `History`; `check_history` gives one `Verdict` per check.
Everything here is written apart from the product: it knows etcd's documented behaviour and the
message definitions, and shares no line with the state machine that it judges.
"""

from __future__ import annotations
