"""The supervisor: processes, not consensus.

`launch` and `ClusterClient` are its face to tools, `Cluster` its face to Python programs; both
speak to the daemon over the management socket and import nothing heavy.
"""
