"""What each client can do with each scheme of the proxy, on each way: the table of docs/identities.md.

``python -m tests.e2e.matrix`` prints it.  `tests/e2e/test_matrix.py` has every client do it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CLIENTS", "SCHEMES", "Ability", "Client", "ability", "table"]

SCHEMES: Final = ("Basic", "Digest", "Bearer", "Negotiate")


class Ability(NamedTuple):
    """What a client can do with a scheme.

    Attributes:
        works: whether it comes through with right credentials.
        mark: in the table.
        reason: why not, or what it takes; a key of `NOTES`.
    """

    works: bool
    mark: str
    reason: str = ""


class Client(NamedTuple):
    """A client, on one way through the proxy.

    Attributes:
        name: of the program.
        way: ``absolute-form``, ``CONNECT``, ``WebSocket``.
        abilities: in the order of `SCHEMES`.
    """

    name: str
    way: str
    abilities: tuple[Ability, ...]


NOTES: Final = {
    "password": "the token is the password of Basic, with an empty user name or the token's own",
    "tunnel": "only with `-Djdk.http.auth.tunneling.disabledSchemes=`",
    "java-basic": "`java.net.http` answers no challenge but Basic",
    "java-field": "the field that the caller sets is not sent with CONNECT",
    "agent": "the agents send what they are given and answer no challenge",
    "md5": "Python before 3.14 gives up at SHA-256: give it a file of `htdigest`, which has MD5 alone",
    "urllib": "`urllib` answers no challenge of a tunnel",
    "urllib-negotiate": "`urllib` knows Basic and Digest",
    "websockets": "`websockets` sends Basic and answers no challenge",
    "allowlist": "for proxies of `--auth-server-allowlist`, the policy `AuthServerAllowlist`",
}

YES: Final = Ability(True, "yes")


def _yes(note: str) -> Ability:
    return Ability(True, "yes", note)


def _no(note: str) -> Ability:
    return Ability(False, "no", note)


_AS_PASSWORD: Final = Ability(True, "as password", "password")
_AGENT: Final = (YES, _no("agent"), YES, _no("agent"))
_CHROMIUM: Final = (YES, YES, _AS_PASSWORD, _yes("allowlist"))

CLIENTS: Final = (
    Client("curl", "absolute-form", (YES, YES, YES, YES)),
    Client("curl", "CONNECT", (YES, YES, YES, YES)),
    Client("Python urllib", "absolute-form", (YES, _yes("md5"), YES, _no("urllib-negotiate"))),
    Client("Python urllib", "CONNECT", (YES, _no("urllib"), YES, _no("urllib"))),
    Client(
        "Python websockets",
        "WebSocket",
        (YES, _no("websockets"), _AS_PASSWORD, _no("websockets")),
    ),
    Client("Node.js, http-proxy-agent", "absolute-form", _AGENT),
    Client("Node.js, https-proxy-agent", "CONNECT", _AGENT),
    Client("Node.js, ws and https-proxy-agent", "WebSocket", _AGENT),
    Client("Java HttpClient", "absolute-form", (YES, _no("java-basic"), YES, _no("java-basic"))),
    Client(
        "Java HttpClient",
        "CONNECT",
        (_yes("tunnel"), _no("java-basic"), _AS_PASSWORD, _no("java-basic")),
    ),
    Client(
        "Java HttpClient",
        "WebSocket",
        (_yes("tunnel"), _no("java-basic"), _AS_PASSWORD, _no("java-basic")),
    ),
    Client("Java HttpURLConnection", "absolute-form", (YES, YES, YES, YES)),
    Client("Java HttpURLConnection", "CONNECT", (_yes("tunnel"), YES, _AS_PASSWORD, YES)),
    Client("Chromium", "absolute-form", _CHROMIUM),
    Client("Chromium", "CONNECT", _CHROMIUM),
    Client("Chromium", "WebSocket", _CHROMIUM),
)


def ability(name: str, way: str, scheme: str) -> Ability:
    """What the table says of one client, way and scheme."""
    (client,) = (one for one in CLIENTS if (one.name, one.way) == (name, way))
    return client.abilities[SCHEMES.index(scheme)]


def table() -> str:
    """The table and its notes, as Markdown."""
    reasons = [one.reason for client in CLIENTS for one in client.abilities if one.reason]
    numbers = {reason: number for number, reason in enumerate(dict.fromkeys(reasons), 1)}
    lines = [f"| client | way | {' | '.join(SCHEMES)} |", "|---" * (len(SCHEMES) + 2) + "|"]
    for client in CLIENTS:
        cells = [
            f"{one.mark} ({numbers[one.reason]})" if one.reason else one.mark
            for one in client.abilities
        ]
        lines.append(f"| {client.name} | {client.way} | {' | '.join(cells)} |")
    notes = [f"{number}. {NOTES[reason]}" for reason, number in numbers.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
