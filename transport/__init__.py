"""transport: bytes between processes; knows neither Raft nor etcd."""
