"""The messages of the etcd v3 API: names, numbers and packages are etcd's, the .proto files ours.

`kv` keys, values and events; `rpc` the etcd services; `auth`, `lock`, `election`, `health` and
`reflection` (under its two names) what their names say. The modules are generated (`make proto`)
and registered in a descriptor pool of their own, see `pool`.
"""

from __future__ import annotations

from node.proto import auth_pb2 as auth
from node.proto import election_pb2 as election
from node.proto import health_pb2 as health
from node.proto import kv_pb2 as kv
from node.proto import lock_pb2 as lock
from node.proto import reflection_alpha_pb2 as reflection_alpha
from node.proto import reflection_pb2 as reflection
from node.proto import rpc_pb2 as rpc

__all__ = ["auth", "election", "health", "kv", "lock", "reflection", "reflection_alpha", "rpc"]
