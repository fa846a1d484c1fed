"""What etcd's own tools read from the environment, for a shell and for programs of a user's."""

from __future__ import annotations

from cluster.document import StatusDocument

TLS_VARIABLES = ("ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY")
"""Left over from another cluster they make etcdctl speak TLS to one that does not."""


def etcdctl_variables(status: StatusDocument) -> dict[str, str]:
    """What etcd's own tools have to be told, by the names of their environment variables."""
    variables = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ",".join(status["endpoints"])}
    tls = status["tls"]
    if tls is not None:
        paths = (tls["cacert"], tls["cert"], tls["key"])
        variables |= {name: path for name, path in zip(TLS_VARIABLES, paths, strict=True) if path}
    return variables
