"""Groups from a directory: added to whom something else proves, remembered, never guessed."""

from __future__ import annotations

import pytest

from wsproxy.auth.groups import DirectoryGroups, GroupedAuthenticator
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired, AuthUnavailable
from wsproxy.model import Identity

DESK = frozenset({"desk"})


class Directory:
    """Knows what it is told, and counts how often it is asked."""

    def __init__(self, **groups: frozenset[str]) -> None:
        self.groups = groups
        self.is_down = False
        self.asked: list[str] = []

    async def look_up(self, name: str) -> Identity | None:
        self.asked.append(name)
        if self.is_down:
            raise AuthUnavailable("down")
        found = self.groups.get(name.lower().partition("@")[0])
        return None if found is None else Identity(name.lower().partition("@")[0], found)


class Method:
    """Believes whatever it is told."""

    scheme = "Negotiate"

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        return [b"Negotiate %d %b" % (now, b"" if refusal is None else refusal.detail.encode())]

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        return None if proof.bond is None else proof.bond.identity

    async def authenticate(self, proof: Proof) -> Identity:
        return Identity(proof.credentials.decode())


def proof(user: str, now: float = 0.0) -> Proof:
    return Proof(user.encode(), now=now)


async def test_groups_are_added_and_remembered_for_five_minutes() -> None:
    directory = Directory(alice=DESK)
    method = GroupedAuthenticator(Method(), DirectoryGroups(directory))
    assert await method.authenticate(proof("alice")) == Identity("alice", DESK)
    directory.groups["alice"] = frozenset()
    assert await method.authenticate(proof("alice", 299.9)) == Identity("alice", DESK)
    assert await method.authenticate(proof("alice", 300.0)) == Identity("alice")
    assert directory.asked == ["alice", "alice"]


async def test_who_is_not_in_the_directory_is_refused_for_ten_seconds_without_asking() -> None:
    directory = Directory()
    groups = DirectoryGroups(directory)
    for now in (0.0, 9.9):
        with pytest.raises(AuthRequired, match="does not know this user"):
            await groups.add(Identity("alice"), now=now)
    assert directory.asked == ["alice"]
    directory.groups["alice"] = DESK
    assert await groups.add(Identity("alice"), now=10.0) == Identity("alice", DESK)


async def test_a_directory_that_does_not_answer_lets_nobody_in_whom_it_has_not_told_of() -> None:
    directory = Directory(alice=DESK, bob=DESK)
    groups = DirectoryGroups(directory)
    await groups.add(Identity("alice"), now=0.0)
    directory.is_down = True
    assert groups.add_nowait(Identity("alice"), now=1.0) == Identity("alice", DESK)
    assert groups.add_nowait(Identity("bob"), now=1.0) is None
    with pytest.raises(AuthUnavailable):
        await groups.add(Identity("bob"), now=1.0)
    with pytest.raises(AuthUnavailable):
        await groups.add(Identity("alice"), now=300.0)
    directory.is_down = False
    assert await groups.add(Identity("bob"), now=2.0) == Identity("bob", DESK)


async def test_the_case_of_a_name_is_the_directorys_and_nothing_else() -> None:
    groups = DirectoryGroups(Directory(alice=DESK))
    assert await groups.add(Identity("ALICE"), now=0.0) == Identity("alice", DESK)
    partner = Identity("alice@PARTNER.EXAMPLE")
    assert await groups.add(partner, now=0.0) == Identity("alice@PARTNER.EXAMPLE", DESK)


async def test_who_has_groups_keeps_them_and_a_token_keeps_its_end() -> None:
    directory = Directory(alice=DESK)
    groups = DirectoryGroups(directory)
    own = Identity("alice", frozenset({"ci"}), expires_at=5.0)
    assert await groups.add(own, now=0.0) is own
    assert directory.asked == []
    added = await groups.add(Identity("alice", expires_at=5.0), now=0.0)
    assert isinstance(added, Identity)
    assert (added.groups, added.expires_at) == (DESK, 5.0)


async def test_the_method_stays_what_it_is() -> None:
    method = GroupedAuthenticator(Method(), DirectoryGroups(Directory()))
    assert method.scheme == "Negotiate"
    assert method.challenges(7.0, refusal=AuthRequired("no")) == [b"Negotiate 7 no"]
    assert method.authenticate_nowait(proof("alice")) is None
