"""Goal G17 without a clock: guesses are never served, soon refused, and cost one hash each until then."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.goals.guessing import GUESSER, LOCKOUT, PASSWORD, SECURED, USER, GuessedAt, answer
from tests.support.proxy_process import add_user, start_proxy
from tests.support.rawnet import open_origin
from wsproxy.auth import passwords
from wsproxy.auth.basic import BasicAuthenticator
from wsproxy.auth.proof import Proof
from wsproxy.auth.users_file import load_users
from wsproxy.errors import AuthRequired

GUESSES = 500
GUARD_S = 60.0


async def test_a_guesser_is_throttled_and_nobody_else_is(tmp_path: Path) -> None:
    add_user(tmp_path / "users", "alice", PASSWORD)
    add_user(tmp_path / "users", "bob", PASSWORD)
    with trio.fail_after(GUARD_S), start_proxy(SECURED % LOCKOUT, tmp_path) as proxy:
        async with open_origin(answer) as origin:
            room = GuessedAt(proxy, origin)
            known_from_there = await room.ask_once(GUESSER, "bob", PASSWORD)
            told = await room.guess(GUESSES)
            late = await room.ask_once(GUESSER, "alice", PASSWORD)
            others = [await room.ask_once(USER, "alice", PASSWORD) for _ in range(20)]
            colleague = await room.ask_once(GUESSER, "bob", PASSWORD)
    assert told == [407] * 10 + [429] * (GUESSES - 10)
    # Even the right password, when it comes from there and was not known before.
    assert (known_from_there, late, colleague) == (200, 429, 200)
    assert others == [200] * 20
    print(f"G17: {GUESSES} guesses: {dict(Counter(told))}")


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "guess"), ("nobody", "guess"), ("alice", PASSWORD[:-1]), ("alice", PASSWORD + "x")],
    ids=["known", "unknown", "prefix", "longer"],
)
async def test_each_refusal_is_the_work_of_one_hash_of_the_usual_cost(
    tmp_path: Path, user: str, password: str
) -> None:
    """What the clock could tell is the number of hashes, and their cost."""
    add_user(tmp_path / "users", "alice", PASSWORD)
    work: list[str] = []

    def verify(hashed: str, offered: bytes) -> bool:
        work.append(hashed.rpartition("$")[0].rpartition("$")[0])  # kind and cost, no salt
        return passwords.verify(hashed, offered)

    authenticator = BasicAuthenticator(load_users(tmp_path / "users"), verifier=verify)
    with pytest.raises(AuthRequired) as refused:
        await authenticator.authenticate(Proof(credentials_of(user, password)))
    assert work == ["$argon2id$v=19$m=19456,t=2,p=1"]
    assert refused.value.detail == "wrong user name or password"


def credentials_of(user: str, password: str) -> bytes:
    """Of Basic."""
    return b64encode(f"{user}:{password}".encode())
