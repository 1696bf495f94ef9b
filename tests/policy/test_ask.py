"""What a tunnel may be."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.policy.ask import PROTOCOLS, Ask, tunnel_protocols
from wsproxy.protocol.authority import parse_host


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (443, {"tcp", "https", "wss"}),
        (80, {"tcp", "ws"}),
        (8443, {"tcp", "https", "wss", "ws"}),
        (22, {"tcp", "https", "wss", "ws"}),
    ],
)
def test_a_tunnel_has_several_possible_protocols(port: int, expected: set[str]) -> None:
    assert tunnel_protocols(port) == expected
    assert expected <= PROTOCOLS


def test_an_ask_knows_nothing_of_a_handshake_before_there_is_one() -> None:
    ask = Ask(
        client=ip_address("10.1.2.3"),
        identity=None,
        host=parse_host(b"a.example"),
        port=443,
        protocols=tunnel_protocols(443),
        method="CONNECT",
        at=0.0,
    )
    assert (ask.path, ask.origin, ask.subprotocols, ask.handshake) == (None, None, (), False)
