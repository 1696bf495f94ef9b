"""What a tunnel may be."""

from __future__ import annotations

import pytest

from wsproxy.policy.ask import PROTOCOLS, tunnel_protocols


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
