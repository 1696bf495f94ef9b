"""Kerberos at both ends: tickets of clients, their groups from a directory, and tickets for parents."""

from __future__ import annotations

import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.kdc import Realms
from tests.support.proxy_process import start_proxy
from tests.support.slapd import SERVICE_PASSWORD, run_slapd
from tests.support.squid import run_squid

from .chromium import run_chromium
from .conftest import PARENT_HOST, PROXY_HOST
from .observed import ObservedProxy
from .origins import Certificates, Nginx
from .wire import RawOrigin, Wire, fields, start_line

POLICY = """
listeners: [{{address: 127.0.0.1:0}}]
policy:
  default: deny
  private_networks: [{{hosts: [127.0.0.1], networks: [127.0.0.0/8]}}]
  rules:
    - {{name: known, when: {{{who}, hosts: [127.0.0.1]}}, action: allow{way}}}
auth: {{methods: [{{type: negotiate, keytab: {keytab}{ldap}}}]}}
"""


@contextmanager
def proxy_of(
    folder: Path, realms: Realms, *, who: str = "users: [alice]", ldap: str = ""
) -> Iterator[ObservedProxy]:
    """A proxy that takes tickets and nothing else."""
    keytab = realms.folder / "proxy.keytab"
    text = POLICY.format(who=who, way="", keytab=keytab, ldap=ldap)
    with start_proxy(text, folder, env=realms.env) as process:
        yield ObservedProxy(process)


def curl(realms: Realms, proxy: ObservedProxy, *arguments: str) -> tuple[list[int], bytes]:
    """The statuses of curl's transfers, and all they brought."""
    done = subprocess.run(
        ["curl", "-q", "--silent", "--noproxy", "", "--max-time", "40", "--proxy-user", ":"]
        + ["--proxy", f"http://{PROXY_HOST}:{proxy.port}"]
        + ["--resolve", f"{PROXY_HOST}:{proxy.port}:127.0.0.1"]
        + ["--write-out", "%{stderr}%{http_code} ", *arguments],
        env={**os.environ, **realms.env},
        capture_output=True,
        check=False,
    )
    return [int(status) for status in done.stderr.split()], done.stdout


# ---------------------------------------------------------------- one ticket, one connection


def test_curl_sends_no_ticket_again_once_it_was_asked_for_one(
    tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    url = f"{nginx.http}/file.txt"
    with proxy_of(tmp_path, realms) as proxy:
        statuses, body = curl(realms, proxy, "--proxy-anyauth", url, url, url)
        assert (statuses, body) == ([200, 200, 200], b"a small file\n" * 3)
        proxy.process.wait_records(4)
        records = proxy.matching()
        # Challenged once; the second and third request came without a ticket.
        assert [(one["status"], one["user"]) for one in records] == [
            (407, None),
            (200, "alice"),
            (200, "alice"),
            (200, "alice"),
        ]
        assert len({one["client"] for one in records}) == 1


def test_chromium_sends_a_ticket_once_for_each_connection(
    tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    with proxy_of(tmp_path, realms) as proxy:
        there = f"http://proxy.localhost:{proxy.port}"
        with run_chromium(tmp_path, there, tickets=realms.env) as page:
            assert page.visit(f"{nginx.http}/page.html") == ""
            assert page.evaluate("document.title") == "loaded"
            for _ in range(5):
                assert page.evaluate("fetchText('/file.txt')")["status"] == 200
            assert page.challenges == 0  # nobody was asked for a password
        records = proxy.matching(kind="forward")
        refused = [one["client"] for one in records if one["status"] == 407]
        assert len(refused) == len(set(refused))
        assert {one["user"] for one in records if one["status"] == 200} == {"alice"}
        served = [one["client"] for one in records if one["status"] == 200]
        assert len(served) > len(set(served))


@pytest.mark.parametrize(
    "field", ["Via: 1.1 balancer", "Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1"]
)
def test_what_somebody_between_sent_on_proves_itself_or_is_refused(
    field: str, tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    url = f"{nginx.http}/file.txt"
    with proxy_of(tmp_path, realms) as proxy:
        there = ("--silent", "--noproxy", "", "--write-out", "%{stderr}%{http_code} ", "--proxy")
        there += (f"http://{PROXY_HOST}:{proxy.port}",)
        relayed, direct = ("--header", field, url), (url,)
        for first, second in ((relayed, direct), (direct, relayed)):
            told = curl(realms, proxy, "--proxy-negotiate", *first, "--next", *there, *second)
            assert told[0] == [200, 407]
        proxy.process.wait_records(4)
        assert len({one["client"] for one in proxy.matching()}) == 2


@pytest.mark.parametrize("credentials", ["Negotiate AAAA", "Basic AAAA", "nonsense"])
def test_other_credentials_end_what_the_ticket_proved(
    credentials: str, tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    url = f"{nginx.http}/file.txt"
    wrong = ("--header", f"Proxy-Authorization: {credentials}")
    with proxy_of(tmp_path, realms) as proxy:
        there = ("--silent", "--noproxy", "", "--write-out", "%{stderr}%{http_code} ", "--proxy")
        there += (f"http://{PROXY_HOST}:{proxy.port}",)
        statuses, _body = curl(
            realms,
            proxy,
            *("--proxy-negotiate", url),
            *("--next", *there, *wrong, url),
            *("--next", *there, url),
        )
        assert statuses == [200, 407, 407]
        proxy.process.wait_records(3)
        assert len({one["client"] for one in proxy.matching()}) == 1


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_client_knows_the_proxy_by_the_answer_to_its_ticket(
    method: str, tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    with proxy_of(tmp_path, realms) as proxy, realms.client(f"HTTP@{PROXY_HOST}") as client:
        target = f"127.0.0.1:{nginx.port}" if method == "CONNECT" else f"{nginx.http}/file.txt"
        ticket = b64encode(client.token).decode()
        with Wire.connect(proxy.port) as wire:
            head = (
                f"{method} {target} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Negotiate {ticket}"
            )
            wire.send(f"{head}\r\n\r\n".encode())
            answered = wire.read_head()
        assert start_line(answered)[9:12] == b"200"
        scheme, _, token = fields(answered)[b"proxy-authenticate"].partition(b" ")
        assert (scheme, client.complete) == (b"Negotiate", False)
        client.step(b64decode(token))
        assert client.complete


# ---------------------------------------------------------------- groups


def test_the_groups_of_a_ticket_are_the_directorys(
    tmp_path: Path, realms: Realms, nginx: Nginx, certificates: Certificates
) -> None:
    (tmp_path / "slapd").mkdir()
    certificate = trustme.CA().issue_cert("127.0.0.1")
    with run_slapd(tmp_path / "slapd", certificate) as slapd:
        ldap = (
            f", ldap: {{url: 'ldap://127.0.0.1:{slapd.port}', base: 'ou=people,dc=corp', "
            f"bind_dn: 'cn=proxy,dc=corp', bind_password: '{SERVICE_PASSWORD}', timeout: 2s}}"
        )
        trust = ("--cacert", str(certificates.authority))
        with proxy_of(tmp_path, realms, who="groups: [desk]", ldap=ldap) as proxy:
            for base in (nginx.http, nginx.https):
                told = curl(realms, proxy, "--proxy-negotiate", *trust, f"{base}/file.txt")
                assert told == ([200], b"a small file\n")
            for kind in ("forward", "connect"):
                assert proxy.access(kind=kind, user="alice")["rule"] == "known"
            # In the directory without a group, and not in the directory at all.
            url = f"{nginx.http}/file.txt"
            with realms.logged_in("bob"):
                assert curl(realms, proxy, "--proxy-negotiate", url)[0] == [403]
            with realms.logged_in("stranger"):
                assert curl(realms, proxy, "--proxy-negotiate", url)[0] == [407]
            assert "does not know this user" in proxy.access(status=407)["detail"]
            slapd.stop()
            with realms.logged_in("twin"):
                assert curl(realms, proxy, "--proxy-negotiate", url)[0] == [503]
            assert proxy.access(status=503)["error"] == "http_request_denied"
            # Who is remembered goes on.
            assert curl(realms, proxy, "--proxy-negotiate", url)[0] == [200]


# ---------------------------------------------------------------- tickets for a parent

CHILD = """
listeners: [{{address: 127.0.0.1:0}}]
policy:
  default: allow
  private_networks: [{{hosts: [127.0.0.1], networks: [127.0.0.0/8]}}]
  rules: [{{name: out, action: allow, upstream: out}}]
timeouts: {{connect: 10s}}
upstreams:
  out:
    url: "http://127.0.0.1:{port}"
    negotiate: {{keytab: {keytab}, principal: "svc@CORP.EXAMPLE", hostname: {hostname}}}
"""


@contextmanager
def child_of(
    folder: Path, realms: Realms, port: int, *, hostname: str = PARENT_HOST
) -> Iterator[ObservedProxy]:
    """A proxy whose way out is the parent on `port`."""
    keytab = realms.folder / "svc.keytab"
    text = CHILD.format(port=port, keytab=keytab, hostname=hostname)
    # Without a cache of tickets of its own: it gets them with the keytab.
    env = {**realms.env, "KRB5CCNAME": "FILE:/nonexistent/tickets"}
    with start_proxy(text, folder, env=env) as process:
        yield ObservedProxy(process)


def plain_curl(proxy: ObservedProxy, *arguments: str) -> tuple[list[int], bytes]:
    """The same as `curl`, without tickets."""
    done = subprocess.run(
        ["curl", "-q", "--silent", "--noproxy", "", "--max-time", "40", "--proxy", proxy.url]
        + ["--write-out", "%{stderr}%{http_code} ", *arguments],
        capture_output=True,
        check=False,
    )
    return [int(status) for status in done.stderr.split()], done.stdout


def test_squid_takes_our_tickets(
    tmp_path: Path, realms: Realms, nginx: Nginx, certificates: Certificates
) -> None:
    keytab = realms.folder / "parent.keytab"
    trust = ("--cacert", str(certificates.authority))
    url = f"{nginx.http}/file.txt"
    with (
        run_squid(keytab, f"HTTP/{PARENT_HOST}", realms.env) as squid,
        child_of(tmp_path, realms, squid.port) as proxy,
    ):
        assert plain_curl(proxy, url, url) == ([200, 200], b"a small file\n" * 2)
        assert plain_curl(proxy, *trust, f"{nginx.https}/file.txt") == ([200], b"a small file\n")
        assert plain_curl(proxy, "--proxytunnel", url) == ([200], b"a small file\n")
        lines = squid.lines()
        first, second = (line.split() for line in lines if " GET " in line)
        assert first[1:] == second[1:] == ["GET", url, "200", "svc@CORP.EXAMPLE"]
        assert first[0] == second[0]  # the same connection
        assert not [line for line in lines if " 407 " in line]


def test_a_parent_that_takes_tickets_is_known_by_its_answer(
    tmp_path: Path, realms: Realms, nginx: Nginx, certificates: Certificates
) -> None:
    parent_folder = tmp_path / "parent"
    parent_folder.mkdir()
    text = POLICY.format(
        who="users: [svc]", way="", keytab=realms.folder / "parent.keytab", ldap=""
    )
    trust = ("--cacert", str(certificates.authority))
    url = f"{nginx.http}/file.txt"
    with start_proxy(text, parent_folder, env=realms.env) as process:
        parent = ObservedProxy(process)
        with child_of(tmp_path, realms, process.port) as proxy:
            assert plain_curl(proxy, url, url, url) == ([200] * 3, b"a small file\n" * 3)
            told = plain_curl(proxy, *trust, f"{nginx.https}/file.txt")
            assert told == ([200], b"a small file\n")
        # Our Via has it ask for a ticket with each request, which it is given unasked.
        process.wait_records(4)
        told_of = [(one["kind"], one["status"], one["user"]) for one in parent.matching()]
        assert told_of == [("forward", 200, "svc")] * 3 + [("connect", 200, "svc")]


@pytest.mark.parametrize("way", ["absolute-form", "CONNECT"])
def test_a_parent_whose_proof_is_wrong_gets_nothing_more(
    way: str, tmp_path: Path, realms: Realms, origin: RawOrigin
) -> None:
    option = ("--proxytunnel",) if way == "CONNECT" else ()
    with child_of(tmp_path, realms, origin.port) as proxy, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(plain_curl, proxy, *option, "http://127.0.0.1:9/")
        with origin.accept() as wire:
            head = wire.read_head()
            assert b"\r\nProxy-Authorization: Negotiate YII" in head
            wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                b"Proxy-Authenticate: Negotiate AAAA\r\n\r\n"
            )
            assert wire.read_to_end() == b""
        assert asked.result()[0] == [0 if way == "CONNECT" else 502]
        assert proxy.access(status=502)["detail"] == "out does not prove who it is"


def test_without_a_ticket_for_the_parent_nothing_goes_out(
    tmp_path: Path, realms: Realms, nginx: Nginx
) -> None:
    with child_of(tmp_path, realms, nginx.port, hostname="nobody.corp.example") as proxy:
        url = f"{nginx.http}/file.txt"
        assert plain_curl(proxy, url)[0] == [502]
        assert "no Kerberos ticket for out" in proxy.access(status=502)["detail"]
