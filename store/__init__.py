"""store: keeps bytes on one disk, knows neither Raft nor etcd.

One LevelDB per member holds the durable log and the state records that grew out of it; one writer
thread makes them durable in groups; the loop reads them, and what is not yet durable, through a
`StateView`. Start reading at `store.log` (what a batch is), then `store.writer` (how it gets to
disk) and `store.boot` (what is trusted after a restart).
"""
