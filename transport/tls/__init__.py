"""TLS between clients and a member: contexts, one connection's edge, a rehearsal in memory.

`files` names the papers of either side, `context` reads them, `connection` stands between a socket
and a protocol of asyncio, `rehearsal` tells whether two sets of papers fit each other before
anybody serves with them. Only `files` is imported here: it costs nothing to say that there is no
TLS.
"""

from transport.tls.files import ClientFiles, ServerFiles

__all__ = ["ClientFiles", "ServerFiles"]
