"""Load and comparisons: how fast an etcd endpoint is, this cluster's or a real etcd's."""
