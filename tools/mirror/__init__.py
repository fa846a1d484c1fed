"""Copying the keys of one etcd to another, live: `conclave mirror`.

`plan` decides, purely: which key becomes which, what differs, which changes travel in one
transaction, and where the copy stands. `follower` does it, with two clients.
"""
