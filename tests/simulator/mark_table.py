"""Every coverage mark and what it means, grouped by the part of a member that it is about.

Who adds a fault, an action or a path through the product adds its mark here, and the line that hits
it. What no whole member can come to is no mark: a loop hands out a snapshot in the turn in which it
shows it to the core, so that no append finds it waiting there, and streams the state that it has,
which knows whom it is sent to. The core's own tests have both.
"""

from __future__ import annotations

ELECTION = {
    "leader_elected": "a candidate won",
    "pre_vote_ignored_sticky": "a pre-vote was ignored by one who hears a leader",
    "vote_ignored_sticky": "a vote of a higher term was ignored by one who hears a leader",
    "pre_vote_refused": "a pre-vote was refused: an older log, or a lower term",
    "pre_vote_of_lower_term": "a pre-vote of a lower term was told the present one",
    "vote_refused_old_log": "a vote was refused to a log that is behind",
    "vote_refused_given": "a vote was refused because it was given to another",
    "vote_asked_twice": "a candidate asked again whom it had got the vote of",
    "candidate_lost": "a candidate or pre-candidate was outvoted",
    "candidate_heard_leader": "a campaign ended because the term has a leader",
    "candidate_timed_out": "a candidate campaigned again in a later term",
    "split_vote": "two members asked for votes in one term",
    "leader_deposed": "a leader heard of a higher term",
    "check_quorum_stepdown": "a leader did not hear a quorum and stepped down",
    "higher_term_refused": "one whose term ran ahead refused a leader of a lower term",
    "higher_term_freed": "and was led again after that",
    "campaign_blocked_by_conf": "a committed change of the members was not applied yet",
    "campaign_blocked_by_snapshot": "a snapshot was being installed",
    "campaign_blocked_no_voter": "a learner or a removed member was told to campaign",
    "term_without_vote_restart": "a member restarted in a term in which it had not voted",
    "vote_survived_restart": "a member restarted in a term in which it had voted",
    "late_leader": "a member became leader of a term after a later one had a leader",
}

REPLICATION = {
    "append_refused": "a follower lacked the entry before an append",
    "hint_skip_follower": "a follower's hint went back by more than ten entries",
    "hint_skip_leader": "the leader went back by more than ten entries behind a hint",
    "truncated": "a follower replaced a part of its log",
    "truncated_terms": "and that part was of more than one term",
    "old_append": "an append from behind the commit arrived",
    "repeated_append": "an append arrived whose entries were all there",
    "stale_ack": "an acknowledgement of less than what is known arrived",
    "stale_refusal": "a refusal arrived that later answers had overtaken",
    "window_full": "a peer's window of appends was full",
    "window_recovered": "a full window was lost and an empty append recovered it",
    "old_term_committed": "a leader committed entries of an earlier term with its own",
    "commit_bounded_by_match": "a heartbeat carried less than the leader's commit",
    "stranger_answered": "an answer of one who is no member arrived",
    "unreachable_probe": "a send failed and the peer was probed anew",
}

STORAGE = {
    "completion_void": "a write completed that a later truncation or term had made void",
    "completion_aba": "and its last entry looked as if it still stood there",
    "acks_behind_write": "acknowledgements waited for an earlier write",
    "disk_full_queue": "the writer's queue was full while the core had work",
    "disk_stalled_handover": "a leader handed over because its disk hung",
    "disk_stalled_stepdown": "a leader stepped down because its disk hung",
    "restart": "a member was started again",
    "restart_commit_ahead": "committed entries were not applied on disk at the start",
    "restart_commit_forgotten": "the disk remembered less committed than the life before knew",
    "restart_tail": "the log went beyond the commit at the start",
    "restart_lost_tail": "entries that were not synced were lost by a crash",
    "killed_leader": "a leader was killed",
    "killed_candidate": "a candidate was killed",
    "killed_with_writes": "a member was killed with writes under way",
    "killed_with_unapplied": "a member was killed with committed entries that were not applied",
    "killed_with_staged": "a member was killed with effects that were not on disk",
    "log_compacted": "the log was compacted",
    "compacted_in_probe": "while a peer was being probed",
    "compacted_in_snapshot": "while a peer was being sent a snapshot",
}

SNAPSHOT = {
    "snapshot_sent": "the leader sent a snapshot",
    "snapshot_too_old": "the snapshot at hand was of no use to the peer",
    "snapshot_ignored_old": "one arrived that was behind the commit",
    "snapshot_fast_forward": "one arrived whose log was there already",
    "snapshot_installed": "one was installed",
    "snapshot_in_a_row": "two were installed and nothing was appended in between",
    "snapshot_replaced_tail": "one replaced a log with entries that were not committed",
    "snapshot_of_learner": "a learner was given one",
    "snapshot_crash_receiving": "a member was killed while chunks arrived",
    "snapshot_crash_installing": "a member was killed while the install was under way",
    "snapshot_crash_sending": "a member was killed while it sent one",
    "snapshot_chunk_lost": "a chunk was sent again",
    "snapshot_superseded": "a newer stream took the place of one that was arriving",
    "snapshot_failed": "a stream was given up by its sender",
    "snapshot_streams_full": "one more peer needed a snapshot than streams are allowed",
    "snapshot_abandoned": "one that had arrived was not wanted any more",
    "snapshot_waited_for_room": "one that had arrived waited for the disk",
}

MEMBERSHIP = {
    "learner_added": "a learner was added",
    "voter_added": "a voter was added",
    "learner_promoted": "a learner was promoted",
    "member_removed": "a member was removed",
    "learner_voted": "one that does not know itself to be a voter gave its vote",
    "leader_proposed_own_removal": "a leader took its own removal into the log",
    "leader_removed": "a leader was removed, and a successor committed it",
    "farewell_heard": "a member was told that it has been removed",
    "readd_refused": "an id that had been removed was refused",
    "change_refused": "the leader refused a change of the members",
    "change_refused_at_apply": "a change was refused when it was applied",
    "change_busy": "a change met another one under way",
    "change_overwritten": "a change in the log was overwritten by another leader's entry",
    "change_asked_again": "a change lost with its leader was asked for again",
    "unknown_leader_met": "a member was told of a leader that its configuration does not name",
    "joined_by_snapshot": "a new member learnt the configuration from a snapshot",
}

TRANSFER = {
    "transfer_begun": "leadership began to be handed over",
    "transfer_done": "the target became leader of the next term",
    "transfer_timed_out": "the target did not take over in time",
    "transfer_target_died": "it was down by then",
    "transfer_declined": "the target was no voter, or was the target already",
    "transfer_dropped_proposal": "a proposal met a transfer and waited",
    "forced_vote": "a vote was given to a target although a leader was heard",
}

READS = {
    "read_round": "a round of heartbeats confirmed reads",
    "read_by_question": "the question of a follower was its own confirmation",
    "read_before_own_commit": "a read waited for the first commit of the leader's term",
    "read_asked_again": "a question got no answer and was asked again",
    "read_answer_late": "an answer to an earlier question arrived",
    "read_round_repeated": "a heartbeat answer of an older round arrived again",
    "reads_dropped": "reads were dropped with the leadership",
    "read_waited_for_apply": "a confirmed read waited for entries to be applied",
    "read_refused": "readers were refused",
    "read_during_install": "a confirmed read waited for a snapshot to be installed",
}

REQUESTS = {
    "proposal_forwarded": "a follower's proposal went to the leader",
    "forwarded_to_former_leader": "and met one that leads no more, or another term",
    "forwarded_twice": "a forward of proposals arrived again",
    "forward_refused": "the leader told a follower that it did not take its forward",
    "proposal_put_back": "proposals waited for a leader that takes them",
    "proposal_repeated": "a proposal was handed over again, because its leader had been replaced",
    "proposal_unknown": "a client was told that the outcome is unknown",
    "overwritten_after_unknown": "and its entry was overwritten by another leader's",
    "applied_after_unknown": "and it was applied after all",
    "uncommitted_limit": "a proposal was dropped for too many uncommitted bytes",
    "apply_limit": "entries waited because too much was being applied",
    "batch_of_entries": "one append carried ten entries or more",
}

WATCH = {
    "watch_fell_behind": "a watcher fell behind the present",
    "watch_caught_up": "one that was behind came up to the present",
    "watch_compacted": "one was cancelled because its history was compacted",
    "watch_over_snapshot": "one went on after its member's state was replaced",
    "watch_future": "one was created that starts in the future",
    "watch_past": "one was created that starts in the past",
}

LEASES = {
    "lease_granted": "a lease was granted",
    "lease_expired": "a leader's clock ended a lease",
    "lease_revoke_dropped": "a deposed leader's clock ended one, and nobody heard of it",
    "lease_revoke_again": "a revocation found the lease gone",
    "lease_keys_deleted": "keys went with their lease",
    "lease_noted": "what is left of a lease was noted",
    "lease_note_taken": "a renewal had a note taken away",
    "lease_promoted": "a new leader's clock began with leases",
    "lease_renewed": "a lease was renewed",
    "lease_renew_refused": "a renewal met one who could not vouch for its leadership",
}

DISKS = {
    "crash_before_write": "a crash before a group of writes was made",
    "crash_before_sync": "a crash after a group was written and before it was synced",
    "crash_before_mark": "a crash after the sync and before the mark was moved",
    "crash_in_mark": "a crash that left the mark half written",
    "crash_before_send": "a crash after the mark was moved and before anything was sent",
    "crash_in_snapshot_chunk": "a crash while a chunk of a snapshot was written",
    "crash_at_flip": "a crash in the write that makes a snapshot the state",
    "crash_in_sweep": "a crash while old records were swept away",
    "crash_at_compaction": "a crash in the write that raises the log's floor",
    "crash_at_conf": "a crash in the write that holds a new configuration",
    "crash_at_boot": "a crash while a new process made or read its database",
    "crash_before_apply": "a crash after a turn sent its messages and before it applied entries",
    "crash_after_apply": "a crash after entries were applied and before their effects were queued",
    "disk_error": "a write or a sync failed, and the process ended itself",
    "disk_full_start": "a process could not open its database for want of room",
    "damage_read": "a running process read a block that fails its checksum",
    "power_loss_kept_prefix": "a power loss kept a part of what was not synced",
    "power_loss_lost_all": "a power loss took all that was not synced",
    "quarantine_entered": "a damaged disk was found out and put into quarantine",
}
"""Hit by the simulated disks."""

CLIENTS = {
    "client_unknown_happened": "a write whose client was not told did take effect",
    "client_unknown_did_not": "a write whose client was not told did not",
    "client_compare_held": "the condition of a transaction held",
    "client_compare_failed": "it did not: somebody else had been there",
    "client_lease_was_gone": "a client that kept a lease alive was told that it is gone",
    "client_put_without_lease": "a put was refused because its lease is gone",
    "client_past_read": "a client read what was once",
    "client_past_compacted": "a client was told that it is compacted",
    "client_watch_resumed": "a watch went on in another stream at the same member",
    "client_watch_moved": "a watch went on at another member",
    "client_watch_compacted": "a watch was ended because its history was compacted",
    "client_watch_cancelled": "a client ended a watch and kept its stream",
    "client_stream_mark": "a whole stream was told how far it is",
    "client_progress_note": "a silent watch was told how far it is, unasked",
    "client_events_of_many_revisions": "a watch that caught up was told many revisions at once",
    "client_events_of_one_txn": "a watch was told several changes of one revision",
}
"""Hit once a run has ended well."""

MARKS: dict[str, str] = {
    **ELECTION,
    **REPLICATION,
    **STORAGE,
    **SNAPSHOT,
    **MEMBERSHIP,
    **TRANSFER,
    **READS,
    **REQUESTS,
    **WATCH,
    **LEASES,
    **DISKS,
    **CLIENTS,
}
"""Name → what it means."""
