"""A tour through etcdctl's commands about users and roles, recorded as `tour` does.

What the older etcd of the test's wheel does otherwise than the one that is the model has no place
in it: permissions on empty intervals, the permissions that the role root shows, the words in which
a snapshot is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.tour import Recording

ROOT, ALICE, BOB = "--user root:secret", "--user alice:tea", "--user bob:coffee"


def take_auth_tour(endpoints: Sequence[str]) -> list[str]:
    """Every command of `user`, `role` and `auth`, and what they do to the others."""
    recording = Recording(endpoints)
    try:
        before(recording)
        enabled(recording)
        keys(recording)
        leases(recording)
        changes(recording)
        after(recording)
    finally:
        recording.close()
    return recording.transcript


def before(recording: Recording) -> None:
    """Users and roles are made, and do not count yet."""
    run = recording.run
    run("auth status")
    run("auth disable")
    run("auth enable")
    run("user add root:secret")
    run("user add alice:tea")
    run("user add alice:tea")
    run("user add bob", stdin="coffee\ncoffee\n")
    run("user add bob --interactive=false", stdin="coffee\n")
    run("user add certified --no-password")
    run("user add ''")
    run("user list")
    run("user get nobody")
    run("user get alice")
    run("user delete nobody")
    run("user passwd alice --interactive=false", stdin="cocoa\n")
    run("user passwd nobody --interactive=false", stdin="cocoa\n")
    run("role add reader")
    run("role add reader")
    run("role add writer")
    run("role add ''")
    run("role list")
    run("role get nothing")
    run("role grant-permission reader read a/ --prefix")
    run("role grant-permission reader read b c")
    run("role grant-permission writer readwrite a/w")
    run("role grant-permission writer write x --from-key")
    run("role grant-permission writer readwrite a/w")
    run("role grant-permission nothing read a")
    run("role grant-permission writer sing a")
    run("role get reader")
    run("role get writer -w json")
    run("role revoke-permission reader b c")
    run("role revoke-permission reader b c")
    run("role get reader")
    run("user grant-role alice reader")
    run("user grant-role alice reader")
    run("user grant-role alice nothing")
    run("user grant-role nobody reader")
    run("user grant-role bob writer")
    run("user revoke-role alice writer")
    run("user get alice")
    run("user get alice --detail")
    run("put a/1 one")
    run("get a/1 --user alice:tea")


def enabled(recording: Recording) -> None:
    """etcdctl makes the role root itself and grants it."""
    run = recording.run
    run("auth enable")
    run("auth status")
    run(f"auth status {ROOT}")
    run(f"auth status -w json {ROOT}")
    run(f"auth enable {ROOT}")
    run(f"auth status {ALICE}")
    run(f"role list {ROOT}")
    run(f"user get root {ROOT}")
    run("get a/1 --user alice:wrong")
    run("get a/1 --user nobody:tea")
    run("get a/1 --user certified:tea")
    run("get a/1")
    run("put a/1 two")


def keys(recording: Recording) -> None:
    """What alice and bob may do; alice's password was changed."""
    run = recording.run
    alice = "--user alice:cocoa"
    run(f"get a/1 {ALICE}")
    run(f"get a/1 {alice}")
    run(f"get a/ --prefix {alice}")
    run(f"get a/ --from-key {alice}")
    run(f"get a a/2 {alice}")
    run(f"get b {alice}")
    run(f"put a/1 x {alice}")
    run(f"del a/1 {alice}")
    run(f"put a/w x {BOB}")
    run(f"put a/w y --prev-kv {BOB}")
    run(f"put x x {BOB}")
    run(f"put x y --prev-kv {BOB}")
    run(f"put zzz x {BOB}")
    run(f"put w x {BOB}")
    run(f"get x {BOB}")
    run(f"del x --from-key {BOB}")
    run(f"del x --from-key --prev-kv {BOB}")
    run(f"get a/w {BOB}")
    run(f"txn {BOB}", stdin='value("a/w") = "y"\n\nput a/w 1\n\nput x 1\n\n')
    run(f"txn {BOB}", stdin='value("a/w") = "y"\n\nput a/w 1\n\nput b 1\n\n')
    run(f"txn {BOB}", stdin='value("x") = "y"\n\nput a/w 1\n\nput x 1\n\n')
    run(f"txn {alice}", stdin='value("a/1") = "one"\n\nget a/1\n\nget a/2\n\n')
    run(f"txn {alice}", stdin='value("a/1") = "one"\n\nget a/1\n\nget b\n\n')
    run(f"get '' --prefix {ROOT}")
    run(f"get a/1 --consistency=s {alice}")
    run(f"get b --consistency=s {alice}")
    run(f"lock a/lock {alice} echo held")
    run(f"lock x/lock {ROOT} echo held")


def leases(recording: Recording) -> None:
    """A lease belongs to whom its keys belong."""
    run = recording.run
    alice = "--user alice:cocoa"
    lease = run(f"lease grant 600 {BOB}").split()[1]
    run(f"put a/w held --lease {lease} {BOB}")
    run(f"lease timetolive {lease} --keys {alice}")
    run(f"lease revoke {lease} {alice}")
    run(f"lease timetolive {lease} --keys {BOB}")
    run(f"lease keep-alive --once {lease} {BOB}")
    run(f"lease revoke {lease} {BOB}")
    run(f"get a/w {BOB}")


def changes(recording: Recording) -> None:
    """Only root manages, and cannot be got rid of."""
    run = recording.run
    alice = "--user alice:cocoa"
    for line in (
        "user list",
        "user add eve:eve",
        "user delete bob",
        "user get bob",
        "user get alice",
        "user grant-role alice writer",
        "role list",
        "role get reader",
        "role get writer",
        "role add singer",
        "auth disable",
        "member remove 1234",
        "alarm disarm",
    ):
        run(f"{line} {alice}")
    run(f"user delete root {ROOT}")
    run(f"user revoke-role root root {ROOT}")
    run(f"role delete root {ROOT}")
    run(f"user revoke-role alice reader {ROOT}")
    run(f"get a/1 {alice}")
    run(f"user grant-role alice reader {ROOT}")
    run(f"get a/1 {alice}")
    run(f"role delete reader {ROOT}")
    run(f"get a/1 {alice}")
    run(f"user get alice --detail {ROOT}")
    run(f"user delete alice {ROOT}")
    run(f"get a/1 {alice}")
    run(f"user passwd root --interactive=false {ROOT}", stdin="other\n")
    run(f"user list {ROOT}")
    run("user list --user root:other")
    run("alarm list --user root:other")


def after(recording: Recording) -> None:
    """Everybody may do everything again, and the users are still there."""
    run = recording.run
    run("auth disable --user bob:coffee")
    run("auth disable --user root:other")
    run("auth status -w json")
    run("put b free")
    run("user list")
    run("user delete root")
    run("auth enable --user bob:coffee")
