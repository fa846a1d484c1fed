"""Operations and values as a person reads them in a finding.

c2 at n1 put k3="v17", 12.301..14.022 ms -> revision 9
"""

from __future__ import annotations

from tools.check.history import (
    Compact,
    Compare,
    DeleteRange,
    DeleteRangeResponse,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResponse,
    LeaseRevoke,
    LeaseTimeToLive,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Request,
    Response,
    Txn,
    TxnResponse,
)

_SHOWN_MAX = 40


def describe_bytes(data: bytes) -> str:
    """Give a key or value, long ones cut."""
    decoded = data.decode("utf-8", "backslashreplace")
    text = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in decoded)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}… ({len(data)} bytes)"


def describe_time(at_ns: int) -> str:
    """Give a time in milliseconds."""
    return f"{at_ns / 1e6:.3f} ms"


def describe_interval(key: bytes, range_end: bytes) -> str:
    """Give one key, or a half-open range."""
    if not range_end:
        return describe_bytes(key)
    end = "∞" if range_end == b"\0" else describe_bytes(range_end)
    return f"[{describe_bytes(key)}, {end})"


def describe_kv(kv: KeyValue | None) -> str:
    """Give a key with all that belongs to it; None is a key that does not exist."""
    if kv is None:
        return "nothing"
    lease = f" lease {kv.lease}" if kv.lease else ""
    return (
        f'{describe_bytes(kv.key)}="{describe_bytes(kv.value)}" '
        f"(created {kv.create_revision}, mod {kv.mod_revision}, version {kv.version}{lease})"
    )


def describe_operation(operation: Operation) -> str:
    """Give one operation on one line."""
    end = "…" if operation.end_ns is None else f"{operation.end_ns / 1e6:.3f}"
    return (
        f"#{operation.id} {operation.client} at {operation.endpoint} "
        f"{describe_request(operation.request)}, {operation.start_ns / 1e6:.3f}..{end} ms -> "
        f"{_describe_outcome(operation)}"
    )


def _describe_outcome(operation: Operation) -> str:
    if operation.response is not None:
        return describe_response(operation.response)
    return f"{operation.outcome} ({operation.error})" if operation.error else operation.outcome


def describe_request(request: Request) -> str:
    """Give what was asked."""
    match request:
        case Put():
            lease = f" lease {request.lease}" if request.lease else ""
            value = "its value" if request.ignore_value else f'"{describe_bytes(request.value)}"'
            return f"put {describe_bytes(request.key)}={value}{lease}"
        case Range():
            mode = "serializable " if request.serializable else ""
            at = f" at revision {request.revision}" if request.revision else ""
            return f"{mode}get {describe_interval(request.key, request.range_end)}{at}"
        case DeleteRange():
            return f"delete {describe_interval(request.key, request.range_end)}"
        case Txn():
            return _describe_txn(request)
        case Compact():
            return f"compact to {request.revision}"
        case LeaseGrant():
            return f"grant lease {request.lease} for {request.ttl} s"
        case LeaseRevoke():
            return f"revoke lease {request.lease}"
        case LeaseKeepAlive():
            return f"keep lease {request.lease} alive"
        case LeaseTimeToLive():
            return f"ask for the time of lease {request.lease}"


def _describe_txn(txn: Txn) -> str:
    compare = " and ".join(map(_describe_compare, txn.compare)) or "always"
    success = "; ".join(map(describe_request, txn.success)) or "nothing"
    failure = "; ".join(map(describe_request, txn.failure)) or "nothing"
    return f"txn if {compare} then ({success}) else ({failure})"


def _describe_compare(compare: Compare) -> str:
    given = compare.given
    shown = describe_bytes(given) if isinstance(given, bytes) else str(given)
    where = describe_interval(compare.key, compare.range_end)
    return f"{compare.target} of {where} {compare.relation} {shown}"


def describe_response(response: Response) -> str:
    """Give what was answered; a response inside a transaction has no revision."""
    said = _describe_answer(response)
    if not response.revision:
        return said
    return f"revision {response.revision}" + (f": {said}" if said else "")


def _describe_answer(response: Response) -> str:
    match response:
        case PutResponse():
            return "" if response.prev_kv is None else f"before: {describe_kv(response.prev_kv)}"
        case RangeResponse():
            shown = ", ".join(map(describe_kv, response.kvs[:3])) or "no key shown"
            more = f" and {len(response.kvs) - 3} more" if len(response.kvs) > 3 else ""
            return f"{shown}{more}, count {response.count}"
        case DeleteRangeResponse():
            return f"{response.deleted} deleted"
        case TxnResponse():
            answers = "; ".join(map(describe_response, response.responses)) or "nothing"
            return f"{'succeeded' if response.succeeded else 'not succeeded'} ({answers})"
        case LeaseResponse():
            return f"lease {response.lease}, ttl {response.ttl} s"
        case _:
            return ""
