"""Every way to prove who asks, with curl through a real proxy against a real backend; and ways out."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.support.kdc import start_realms
from tests.support.proxy_process import ProxyProcess, start_proxy
from tests.support.slapd import SERVICE_PASSWORD, run_slapd

from .clients import Fetched, curl
from .observed import ObservedProxy
from .origins import Certificates, Nginx

POLICY = """
listeners: [{address: 127.0.0.1:0}]
policy:
  default: deny
  private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]
  rules: [{name: known, when: {users: [alice], hosts: [127.0.0.1]}, action: allow%s}]
"""


@contextmanager
def proxy_with(folder: Path, auth: str, more: str = "", rule: str = "") -> Iterator[ObservedProxy]:
    with start_proxy(POLICY % rule + f"auth: {auth}\n" + more, folder) as process:
        yield ObservedProxy(process)


def both_ways(
    folder: Path, proxy: ObservedProxy, nginx: Nginx, certificates: Certificates, *options: str
) -> list[Fetched]:
    """A file by absolute-form, and by CONNECT."""
    trust = ("--cacert", str(certificates.authority))
    return [
        curl(folder, proxy.url, *options, *trust, f"{base}/file.txt")
        for base in (nginx.http, nginx.https)
    ]


def assert_served(fetched: list[Fetched], proxy: ObservedProxy) -> None:
    for one in fetched:
        assert one.body == b"a small file\n"
        assert proxy.access(client=one.client, user="alice")["rule"] == "known"


# ---------------------------------------------------------------- Digest


@pytest.fixture
def digest_users(tmp_path: Path) -> Path:
    command = [sys.executable, "-m", "wsproxy", "passwd", "--digest", "--password-stdin"]
    file = tmp_path / "users.digest"
    subprocess.run(
        [*command, str(file), "alice"], input=b"wonder:land", check=True, capture_output=True
    )
    return file


def test_digest_by_curl(
    tmp_path: Path, digest_users: Path, nginx: Nginx, certificates: Certificates
) -> None:
    with proxy_with(tmp_path, f"{{methods: [{{type: digest, users: {digest_users}}}]}}") as proxy:
        right = ("--proxy-digest", "--proxy-user", "alice:wonder:land")
        for fetched in both_ways(tmp_path, proxy, nginx, certificates, *right):
            assert fetched.body == b"a small file\n"
        assert proxy.access(user="alice", rule="known", kind="forward")["status"] == 200
        wrong = curl(
            tmp_path,
            proxy.url,
            "--proxy-digest",
            "--proxy-user",
            "alice:x",
            f"{nginx.http}/file.txt",
        )
        assert wrong.status == 407
        assert wrong.heads[-1].count(b"Proxy-Authenticate: Digest realm=") == 2  # SHA-256 and MD5


# ---------------------------------------------------------------- Bearer


def test_tokens_by_curl(tmp_path: Path, nginx: Nginx, certificates: Certificates) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    keys = {"keys": [key.as_dict(private=False)]}
    (tmp_path / "jwks.json").write_text(json.dumps(keys))
    now = int(time.time())
    claims = {"sub": "alice", "iss": "idp", "aud": "wsproxy", "exp": now + 300, "groups": ["desk"]}
    token = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, key)
    late = jwt.encode({"alg": "ES256", "kid": "k1"}, {**claims, "exp": now - 300}, key)
    assert KeySet.import_key_set(keys)
    auth = "{methods: [{type: bearer, jwks: jwks.json, issuer: idp, audience: wsproxy}]}"
    with proxy_with(tmp_path, auth) as proxy:
        header = ("--proxy-header", f"Proxy-Authorization: Bearer {token}")
        plain = ("--header", f"Proxy-Authorization: Bearer {token}")
        as_password = ("--proxy-user", f":{token}")
        assert_served(both_ways(tmp_path, proxy, nginx, certificates, *as_password), proxy)
        fetched = curl(tmp_path, proxy.url, *plain, f"{nginx.http}/file.txt")
        tunnelled = curl(
            tmp_path,
            proxy.url,
            *header,
            *("--cacert", str(certificates.authority)),
            f"{nginx.https}/file.txt",
        )
        assert_served([fetched, tunnelled], proxy)
        expired = curl(
            tmp_path,
            proxy.url,
            *("--header", f"Proxy-Authorization: Bearer {late}"),
            f"{nginx.http}/file.txt",
        )
        assert expired.status == 407
        record = proxy.access(client=expired.client)
        assert record["detail"] == "the token has expired"
        challenges = [
            line.partition(b": ")[2]
            for line in expired.heads[-1].split(b"\r\n")
            if line.lower().startswith(b"proxy-authenticate: bearer")
        ]
        assert challenges == [
            b'Bearer realm="wsproxy", error="invalid_token", '
            b'error_description="the token has expired"'
        ]
        nothing = curl(tmp_path, proxy.url, f"{nginx.http}/file.txt")
        assert b"error=" not in nothing.heads[-1].replace(b"; error=", b"")
        assert token not in proxy.process.stdout + proxy.process.stderr


class _KeySite(SimpleHTTPRequestHandler):
    """Serves a JWKS file, and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""


@contextmanager
def key_site(folder: Path) -> Iterator[str]:
    """An issuer's web server with the files of `folder`; its URL."""
    handler = functools.partial(_KeySite, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_tokens_whose_keys_are_on_the_web(
    tmp_path: Path, nginx: Nginx, certificates: Certificates
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    claims = {"sub": "alice", "iss": "idp", "aud": "w", "exp": int(time.time()) + 300}
    token = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, key)
    stranger = ECKey.generate_key("P-256", {"kid": "k1"})
    forged = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, stranger)
    auth = '{methods: [{type: bearer, jwks: "%s/jwks.json", issuer: idp, audience: w}]}'
    with key_site(tmp_path) as url, proxy_with(tmp_path, auth % url) as proxy:
        good = ("--proxy-user", f":{token}")
        assert_served(both_ways(tmp_path, proxy, nginx, certificates, *good), proxy)
        bad = ("--proxy-user", f":{forged}", f"{nginx.http}/file.txt")
        refused = curl(tmp_path, proxy.url, *bad)
        assert refused.status == 407
        said = proxy.access(client=refused.client)["detail"]
        assert said == "the token's signature is wrong"
    with proxy_with(tmp_path, auth % url) as proxy:
        lost = curl(tmp_path, proxy.url, *good, f"{nginx.http}/file.txt")
        assert lost.status == 503, "the site is gone: nobody can tell, so nobody is let in"
        assert proxy.access(client=lost.client)["user"] is None


# ---------------------------------------------------------------- LDAP


def test_a_directory_by_curl(tmp_path: Path, nginx: Nginx, certificates: Certificates) -> None:
    authority = trustme.CA()
    (tmp_path / "slapd").mkdir()
    with run_slapd(tmp_path / "slapd", authority.issue_cert("127.0.0.1")) as slapd:
        ldap = (
            f"{{url: 'ldap://127.0.0.1:{slapd.port}', base: 'ou=people,dc=corp', "
            f"bind_dn: 'cn=proxy,dc=corp', bind_password: '{SERVICE_PASSWORD}', timeout: 2s}}"
        )
        auth = f"{{methods: [{{type: basic, ldap: {ldap}}}]}}"
        with proxy_with(tmp_path, auth) as proxy:
            right = ("--proxy-user", "alice:wonder:land")
            assert_served(both_ways(tmp_path, proxy, nginx, certificates, *right), proxy)
            url = f"{nginx.http}/file.txt"
            wrong = curl(tmp_path, proxy.url, "--proxy-user", "alice:guess", url)
            assert wrong.status == 407
            slapd.stop()
            down = curl(tmp_path, proxy.url, "--proxy-user", "bob:builder", url)
            assert (down.status, down.fields[b"retry-after"]) == (503, b"1")
            # Who is remembered goes on.
            again = curl(tmp_path, proxy.url, *right, url)
            assert again.status == 200


# ---------------------------------------------------------------- Negotiate

HOST = "proxy.corp.example"


def test_a_ticket_by_curl(
    tmp_path: Path,
    nginx: Nginx,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "realms").mkdir()
    with start_realms(tmp_path / "realms") as realms:
        realms.kadmin("addprinc", "-pw", "secret", "alice")
        realms.kadmin("addprinc", "-randkey", f"HTTP/{HOST}")
        keytab = realms.keytab("proxy", f"HTTP/{HOST}")
        realms.kinit("alice", "secret")
        for name, value in realms.env.items():
            monkeypatch.setenv(name, value)
        auth = f"{{methods: [{{type: negotiate, keytab: {keytab}}}]}}"
        with proxy_with(tmp_path, auth) as proxy:
            for base in (nginx.http, nginx.https):
                done = subprocess.run(
                    ["curl", "-q", "--silent", "--show-error", "--noproxy", "", "--max-time", "40"]
                    + ["--proxy-negotiate", "--proxy-user", ":"]
                    + ["--proxy", f"http://{HOST}:{proxy.port}"]
                    + ["--resolve", f"{HOST}:{proxy.port}:127.0.0.1"]
                    + ["--cacert", str(certificates.authority), f"{base}/file.txt"],
                    env=dict(os.environ),
                    capture_output=True,
                    check=False,
                )
                assert (done.stdout, done.stderr) == (b"a small file\n", b"")
            for kind in ("forward", "connect"):
                assert proxy.access(kind=kind, user="alice")["rule"] == "known"


# ---------------------------------------------------------------- other proxies behind this one

PARENT = """
listeners: [{address: 127.0.0.1:0}]
policy:
  default: allow
  private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]
auth: {methods: [{type: basic, users: users}]}
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[ProxyProcess]:
    folder = tmp_path / "parent"
    folder.mkdir()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "wsproxy",
            "passwd",
            "--password-stdin",
            str(folder / "users"),
            "svc",
        ],
        input=b"pw",
        check=True,
        capture_output=True,
    )
    with start_proxy(PARENT, folder) as process:
        yield process


def test_through_a_parent_with_credentials_and_failover(
    tmp_path: Path, nginx: Nginx, certificates: Certificates, parent: ProxyProcess
) -> None:
    upstreams = f"""
upstreams:
  out:
    - {{url: "http://127.0.0.1:1", username: svc, password: pw}}
    - {{url: "http://127.0.0.1:{parent.port}", username: svc, password: pw}}
"""
    config = POLICY.replace("users: [alice], ", "") % ", upstream: out" + upstreams
    with start_proxy(config, tmp_path) as process:
        proxy, behind = ObservedProxy(process), ObservedProxy(parent)
        for fetched in both_ways(tmp_path, proxy, nginx, certificates):
            assert fetched.body == b"a small file\n"
            record = proxy.access(client=fetched.client)
            assert (record["upstream"], record["address"]) == ("out", f"127.0.0.1:{parent.port}")
        kinds = {record["kind"] for record in behind.matching(user="svc", status=200)}
        assert kinds >= {"forward"}
        denied = curl(tmp_path, proxy.url, "http://192.0.2.1/")
        assert denied.status == 403
        assert behind.matching(target="http://192.0.2.1/") == []


def test_a_parent_that_refuses_us_is_a_bad_gateway(
    tmp_path: Path, nginx: Nginx, parent: ProxyProcess
) -> None:
    upstreams = f"""
upstreams: {{out: {{url: "http://127.0.0.1:{parent.port}", username: svc, password: wrong}}}}
"""
    config = POLICY.replace("users: [alice], ", "") % ", upstream: out" + upstreams
    with start_proxy(config, tmp_path) as process:
        proxy = ObservedProxy(process)
        fetched = curl(tmp_path, proxy.url, "--proxytunnel", f"{nginx.http}/file.txt")
        assert fetched.connect_status == 502
        assert "refuses our credentials" in proxy.access(client=fetched.client)["detail"]
