"""api: etcd's services on the client port of one member."""
