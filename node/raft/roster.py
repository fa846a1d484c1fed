"""Everyone in the current configuration: who counts, how far each has come, who voted for whom."""

from __future__ import annotations

from node.raft.config import RaftConfig
from node.raft.membership import members_of, quorum_of
from node.raft.message import ConfState
from node.raft.progress import Progress
from node.raft.quorum import Quorum, Verdict


class Roster:
    """`progress` is kept in the order of ids, so that every walk over it is the same everywhere."""

    __slots__ = ("_config", "conf", "progress", "quorum", "votes")

    def __init__(self, config: RaftConfig, conf: ConfState, next_index: int) -> None:
        self._config = config
        self.conf = ConfState()
        self.quorum = Quorum(())
        self.progress: dict[int, Progress] = {}
        self.votes: dict[int, bool] = {}
        self.switch(conf, next_index)

    def switch(self, conf: ConfState, next_index: int) -> None:
        """Take `conf` for the current configuration; who stays keeps its progress.

        A new member counts as active once: it has had no chance to answer yet, and must not cost
        the leader its quorum.
        """
        old = self.progress
        learners = {*conf.learners, *conf.learners_next}
        self.conf, self.quorum, self.progress = conf, quorum_of(conf), {}
        for member in members_of(conf):
            progress = old.get(member) or Progress(
                self._config, next_index, learner=False, active=True
            )
            progress.learner = member in learners
            self.progress[member] = progress

    def reset(self, next_index: int) -> None:
        """A new term: nothing is known of anybody any more."""
        self.votes = {}
        for member, old in self.progress.items():
            self.progress[member] = Progress(
                self._config, next_index, learner=old.learner, active=False
            )

    def is_voter(self, member: int) -> bool:
        return member in self.quorum

    def record_vote(self, member: int, granted: bool) -> Verdict:
        """Count a vote; the first answer of a member stands."""
        self.votes.setdefault(member, granted)
        return self.quorum.verdict(self.votes)

    def committed(self) -> int:
        """The highest index that a quorum has on disk."""
        progress = self.progress
        return self.quorum.agreed(lambda member: progress[member].match)

    def check_quorum(self, self_id: int) -> bool:
        """Whether a quorum was heard from since the last call; starts a new period."""
        heard = {
            member: progress.recent_active or member == self_id
            for member, progress in self.progress.items()
        }
        for progress in self.progress.values():
            progress.close_period()
        return self.quorum.verdict(heard) is Verdict.WON
