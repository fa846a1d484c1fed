"""`conclave-etcd`: one member as a process of its own, for whoever starts `etcd` by hand.

It takes etcd's flags and environment, prints etcd's lines, ends as etcd ends, and is one node of
conclave inside. `flag` reads the command line as Go's flag package does, `flag_table` says which
flags there are, `settings` checks what they say together, `founding` computes the ids, `place` is
the data directory, `journal` writes the log. `__main__` puts them together.
"""
