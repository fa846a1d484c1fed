"""Why a request is refused: values, not exceptions, because a refusal is a result like another.

What applying an entry refuses must be the same on every member, and it is answered to whoever
proposed it. Each class is one error of etcd and carries facts; code and text are the api's.
The last family cannot come from applying: the parts around the machine answer with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Root of everything that can be answered in place of a result."""


# What the shape of a request shows, before it enters the log.


@dataclass(frozen=True, slots=True)
class EmptyKey(Refusal):
    """A request or a compare without a key."""


@dataclass(frozen=True, slots=True)
class InvalidSortOption(Refusal):
    """A sort order or target that no release knows."""


@dataclass(frozen=True, slots=True)
class ValueProvided(Refusal):
    """A value together with `ignore_value`."""


@dataclass(frozen=True, slots=True)
class LeaseProvided(Refusal):
    """A lease together with `ignore_lease`."""


@dataclass(frozen=True, slots=True)
class TooManyOperations(Refusal):
    """More compares or operations than a txn may have on one level."""


@dataclass(frozen=True, slots=True)
class DuplicateKey(Refusal):
    """Two changes of one key on one path of a txn."""


@dataclass(frozen=True, slots=True)
class Malformed(Refusal):
    """Bytes that are no message of the request's type."""

    reason: str


# What a request meets in the store, judged when it is applied or read.


@dataclass(frozen=True, slots=True)
class KeyNotFound(Refusal):
    """A put that keeps value or lease of a key that does not exist; an operation without kind."""


@dataclass(frozen=True, slots=True)
class Compacted(Refusal):
    """The revision is below what is kept."""

    compact_revision: int


@dataclass(frozen=True, slots=True)
class FutureRevision(Refusal):
    """The revision has not been reached."""

    revision: int
    """The store's current revision."""


@dataclass(frozen=True, slots=True)
class LeaseNotFound(Refusal):
    """No lease has this id."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class LeaseExists(Refusal):
    """The id of a new lease is in use."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class LeaseTtlTooLarge(Refusal):
    """More than `node.machine.lease.TTL_SECONDS_MAX`."""

    ttl: int


@dataclass(frozen=True, slots=True)
class NoSpace(Refusal):
    """The NOSPACE alarm is raised: nothing may grow until it is disarmed."""


@dataclass(frozen=True, slots=True)
class Corrupt(Refusal):
    """The CORRUPT alarm is raised: members disagree, so nothing is served."""


# What users, roles and permissions say.


@dataclass(frozen=True, slots=True)
class UserEmpty(Refusal):
    """A user without a name; a request of nobody in particular where a user is needed."""


@dataclass(frozen=True, slots=True)
class UserExists(Refusal):
    """The name of a new user is taken."""


@dataclass(frozen=True, slots=True)
class UserNotFound(Refusal):
    """No user has this name."""


@dataclass(frozen=True, slots=True)
class RoleEmpty(Refusal):
    """A role without a name."""


@dataclass(frozen=True, slots=True)
class RoleExists(Refusal):
    """The name of a new role is taken."""


@dataclass(frozen=True, slots=True)
class RoleNotFound(Refusal):
    """No role has this name."""


@dataclass(frozen=True, slots=True)
class RoleNotGranted(Refusal):
    """The user does not have the role that is to be taken away."""


@dataclass(frozen=True, slots=True)
class PermissionNotGiven(Refusal):
    """A grant that does not say what it grants."""


@dataclass(frozen=True, slots=True)
class PermissionNotGranted(Refusal):
    """The role does not have the permission that is to be taken away."""


@dataclass(frozen=True, slots=True)
class InvalidAuthManagement(Refusal):
    """A permission on no key, or a change that would leave nobody in charge."""


@dataclass(frozen=True, slots=True)
class RootUserNotFound(Refusal):
    """Authentication cannot be enabled without the user root."""


@dataclass(frozen=True, slots=True)
class RootRoleNotGranted(Refusal):
    """Nor without its role root."""


@dataclass(frozen=True, slots=True)
class AuthNotEnabled(Refusal):
    """There is nothing to authenticate for."""


@dataclass(frozen=True, slots=True)
class AuthFailed(Refusal):
    """No such user, or not its password."""


@dataclass(frozen=True, slots=True)
class NoPasswordUser(Refusal):
    """A user that has no password cannot be known by one; or a hash that is none."""


@dataclass(frozen=True, slots=True)
class AuthOldRevision(Refusal):
    """Users, roles or permissions have changed since the client was authenticated."""


@dataclass(frozen=True, slots=True)
class InvalidAuthToken(Refusal):
    """A token that was never given out, or not to here, or has expired."""


@dataclass(frozen=True, slots=True)
class PermissionDenied(Refusal):
    """The user may not do this."""


# What the announcement of a downgrade meets.


@dataclass(frozen=True, slots=True)
class WrongVersionFormat(Refusal):
    """Neither major.minor nor a semantic version."""


@dataclass(frozen=True, slots=True)
class InvalidDowngradeTarget(Refusal):
    """Not the minor release before the cluster's."""


@dataclass(frozen=True, slots=True)
class DowngradeInProgress(Refusal):
    """One is announced."""


@dataclass(frozen=True, slots=True)
class NoDowngrade(Refusal):
    """None is."""


# What the way through the cluster can do to a request; never a result of applying it.


@dataclass(frozen=True, slots=True)
class NoLeader(Refusal):
    """No leader is known."""


@dataclass(frozen=True, slots=True)
class NotLeader(Refusal):
    """Only the leader can do this."""

    leader: int
    """Member id of the leader as far as known; 0 = none."""


@dataclass(frozen=True, slots=True)
class Stopped(Refusal):
    """The member is shutting down."""


@dataclass(frozen=True, slots=True)
class Timeout(Refusal):
    """No answer in time; a write may still happen."""


@dataclass(frozen=True, slots=True)
class LeaderFailed(Refusal):
    """The leader that was given the request has been replaced, and a snapshot hides what became
    of it; it may or may not have happened."""


@dataclass(frozen=True, slots=True)
class TooManyRequests(Refusal):
    """The member has more work waiting than it accepts."""


@dataclass(frozen=True, slots=True)
class RequestTooLarge(Refusal):
    """The request is larger than one proposal may be."""


@dataclass(frozen=True, slots=True)
class NotSupportedForLearner(Refusal):
    """A member without a vote does not serve this."""


@dataclass(frozen=True, slots=True)
class BadLeaderTransferee(Refusal):
    """Leadership cannot go to this member."""


@dataclass(frozen=True, slots=True)
class MemberNotFound(Refusal):
    """No member has this id, or one that has left had it: ids are never used again."""


# What a change of the members meets: judged by the leader and again when it is applied.


@dataclass(frozen=True, slots=True)
class MemberExists(Refusal):
    """The id of a new member is in use."""


@dataclass(frozen=True, slots=True)
class PeerUrlExists(Refusal):
    """Another member has one of the peer URLs."""


@dataclass(frozen=True, slots=True)
class TooManyLearners(Refusal):
    """More learners at a time than `node.machine.roster.LEARNERS_MAX`."""


@dataclass(frozen=True, slots=True)
class MemberNotLearner(Refusal):
    """A member that has a vote cannot be promoted."""


# Judged by the leader alone: it depends on who is there now.


@dataclass(frozen=True, slots=True)
class LearnerNotReady(Refusal):
    """The learner's log is too far behind the leader's."""


@dataclass(frozen=True, slots=True)
class NotEnoughStarted(Refusal):
    """Too few of the voters afterwards would ever have been started."""


@dataclass(frozen=True, slots=True)
class Unhealthy(Refusal):
    """Too few of the voters afterwards are there now."""
