"""The replicated state machine: the keyspace with its history, transactions, leases and alarms.

A function of the log alone: applying the same entries gives the same records, answers and events
on every member. Nothing in here knows a clock, chance, a disk or Raft.
"""
