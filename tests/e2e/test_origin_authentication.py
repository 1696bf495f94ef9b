"""The origin's own authentication through the proxy: one client connection, one origin connection."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.apache import PASSWORD, USER, Apache, run_apache
from tests.support.kdc import Realms
from tests.support.ntlm import NtlmOrigin, run_ntlm_origin
from tests.support.proxy_process import ProxyProcess

from .clients import Fetched, curl, curl_each
from .observed import ALICE, ObservedProxy
from .wire import RawOrigin, start_line

PAIRED = b"Session-Based-Authentication"


@pytest.fixture(scope="module")
def apache(realms: Realms) -> Iterator[Apache]:
    with run_apache(realms.folder / "origin.keytab", realms.env) as apache:
        yield apache


@pytest.fixture
def ntlm(tmp_path: Path) -> Iterator[NtlmOrigin]:
    with run_ntlm_origin(tmp_path, alice="wonder land", bob="builder") as origin:
        yield origin


def statuses(fetched: Fetched) -> list[bytes]:
    """Of all answers, in order."""
    return [start_line(head)[9:12] for head in fetched.heads]


def paired(fetched: Fetched) -> list[bool]:
    """Whether each answer says that the client's connection is paired with one of the origin's."""
    heads = [head.lower() for head in fetched.heads]
    for head in heads:
        assert (b"connection: proxy-support" in head) is (b"proxy-support: " in head)
    return [b"proxy-support: " + PAIRED.lower() in head for head in heads]


# ---------------------------------------------------------------- NTLM


def test_ntlm_takes_its_three_legs_over_one_pair_of_connections(
    tmp_path: Path, ntlm: NtlmOrigin, proxy: ObservedProxy
) -> None:
    url = f"http://localhost:{ntlm.port}/"
    told = curl_each(tmp_path, proxy.url, "--ntlm", "--user", "CORP\\alice:wonder land", url, url)
    # curl begins the dance by itself; its second request needs none.
    assert statuses(told[-1]) == [b"401", b"200", b"200"]
    assert paired(told[-1]) == [True, False, False]
    assert told[-1].body == b"alice\nalice\n"
    assert [one.connections for one in told] == [1, 0]
    assert len(ntlm.asked) == 1


def test_wrong_ntlm_is_refused_by_the_origin(
    tmp_path: Path, ntlm: NtlmOrigin, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path, proxy.url, "--ntlm", "--user", "CORP\\alice:x", f"http://localhost:{ntlm.port}/"
    )
    assert statuses(fetched) == [b"401", b"401"]
    assert paired(fetched) == [True, True]
    assert ntlm.served == []


def test_clients_never_share_a_connection_to_the_origin(
    tmp_path: Path, ntlm: NtlmOrigin, open_process: ProxyProcess
) -> None:
    url = f"http://localhost:{ntlm.port}/"
    clients = [("alice", "wonder land"), ("bob", "builder"), ("nobody", "x")] * 4

    def ask(number: int) -> tuple[str, list[str], bytes]:
        home = tmp_path / str(number)
        home.mkdir()
        user, password = clients[number]
        login = ("--ntlm", "--user", f"CORP\\{user}:{password}")
        fetched = curl_each(home, open_process.url, *login, *[url] * 6)
        return user, [str(one.status) for one in fetched], fetched[-1].body

    with ThreadPoolExecutor(len(clients)) as pool:
        for user, seen, body in pool.map(ask, range(len(clients))):
            if user == "nobody":
                assert set(seen) == {"401"}
            else:
                assert (set(seen), body) == ({"200"}, f"{user}\n".encode() * 6)
    users_of: dict[int, set[str]] = {}
    for port, user in ntlm.served:
        users_of.setdefault(port, set()).add(user)
    assert len(users_of) == 8  # one for each client that was served, however many requests
    assert all(len(users) == 1 for users in users_of.values())


def test_the_proxys_challenge_between_the_legs_breaks_no_pair(
    tmp_path: Path, ntlm: NtlmOrigin, secured: ObservedProxy
) -> None:
    """Both dances at once: curl learns what the proxy wants and what the origin wants."""
    both = (
        *("--proxy-anyauth", "--proxy-user", f"{ALICE.user}:{ALICE.password}"),
        *("--anyauth", "--user", "CORP\\alice:wonder land"),
    )
    url = f"http://localhost:{ntlm.port}/"
    fetched = curl(tmp_path, secured.url, *both, url)
    assert statuses(fetched) == [b"407", b"401", b"401", b"200"]
    assert (fetched.body, fetched.connections, len(ntlm.asked)) == (b"alice\n", 1, 1)


# ---------------------------------------------------------------- Basic, Digest, Negotiate


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_schemes_of_requests_pass(
    scheme: str, tmp_path: Path, apache: Apache, proxy: ObservedProxy
) -> None:
    url = f"http://localhost:{apache.port}/{scheme}/file.txt"
    login = (f"--{scheme}", "--user")
    right = curl(tmp_path, proxy.url, "--anyauth", "--user", f"{USER}:{PASSWORD}", url)
    assert (statuses(right), right.body) == ([b"401", b"200"], f"{scheme} knows you\n".encode())
    assert paired(right) == [False, False]
    wrong = curl(tmp_path, proxy.url, *login, f"{USER}:x", url)
    assert (wrong.status, wrong.connections) == (401, 1)


def test_a_ticket_for_the_origin_passes(
    tmp_path: Path, apache: Apache, realms: Realms, proxy: ObservedProxy
) -> None:
    url = f"http://localhost:{apache.port}/negotiate/file.txt"
    head = tmp_path / "head"
    done = subprocess.run(
        ["curl", "-q", "--silent", "--noproxy", "", "--max-time", "40", "--proxy", proxy.url]
        + ["--anyauth", "--user", ":", "--dump-header", str(head), url, url],
        env={**os.environ, **realms.env},
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"negotiate knows you\n" * 2
    heads = head.read_bytes().lower().split(b"\r\n\r\n")[:-1]
    assert [one[9:12] for one in heads] == [b"401", b"200", b"200"]
    assert b"proxy-support: " + PAIRED.lower() in heads[0]
    served = [line for line in apache.lines() if line[3] == "/negotiate/file.txt"]
    assert [line[1:3] for line in served] == [
        ["-", "401"],
        ["alice@CORP.EXAMPLE", "200"],
        ["alice@CORP.EXAMPLE", "200"],
    ]
    assert len({line[0] for line in served}) == 1


# ---------------------------------------------------------------- ends


def test_the_end_of_an_authenticated_connection_is_the_clients(
    tmp_path: Path, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    """Else its next request, which it takes for authenticated, would go out on another connection."""
    answer = b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\n%bContent-Length: 0\r\n\r\n"
    ends = answer % b"Connection: close\r\n"
    fetched = _once(tmp_path, origin, proxy, ends)
    assert fetched.fields[b"connection"].lower() == b"close"
    assert b"proxy-support" not in fetched.fields
    stays = _once(tmp_path, origin, proxy, answer % b"")
    assert stays.fields[b"proxy-support"] == PAIRED
    # Whose scheme says who asks with each request is none the worse for another connection.
    basic = ends.replace(b"NTLM", b"Basic realm=x")
    assert b"connection" not in _once(tmp_path, origin, proxy, basic).fields


def _once(tmp_path: Path, origin: RawOrigin, proxy: ObservedProxy, answer: bytes) -> Fetched:
    """One request, and what curl makes of the origin's answer."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(curl, tmp_path, proxy.url, f"http://localhost:{origin.port}/")
        with origin.accept() as wire:
            wire.read_head()
            wire.send(answer)
            return asked.result()
