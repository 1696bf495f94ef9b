"""The vocabulary: how values are spelled, and that they are frozen and small."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest

from wsproxy import model
from wsproxy.model import (
    Body,
    BodyKind,
    Host,
    Identity,
    Peer,
    ProxyRequest,
    RequestKind,
    Target,
    Verdict,
)

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
NAME = Host("x.test")


@pytest.mark.parametrize(
    ("host", "text"),
    [(NAME, "x.test"), (Host(str(V4), V4), "192.0.2.1"), (Host(str(V6), V6), "[2001:db8::1]")],
)
def test_a_host_is_spelled_as_in_an_authority(host: Host, text: str) -> None:
    assert str(host) == text


@pytest.mark.parametrize(
    ("target", "authority", "text"),
    [
        (Target("tcp", NAME, 443), "x.test:443", "x.test:443"),
        (Target("http", NAME, 80, b"/p?q"), "x.test:80", "http://x.test:80/p?q"),
        (
            Target("ws", Host(str(V6), V6), 81, b"/\xff"),
            "[2001:db8::1]:81",
            "ws://[2001:db8::1]:81/ÿ",
        ),
        (Target("http", NAME, 80, b"*"), "x.test:80", "http://x.test:80*"),
    ],
)
def test_a_target_always_names_its_port(target: Target, authority: str, text: str) -> None:
    assert (target.authority, str(target)) == (authority, text)


@pytest.mark.parametrize(
    ("peer", "text"), [(Peer(V4, 1), "192.0.2.1:1"), (Peer(V6, 2), "[2001:db8::1]:2")]
)
def test_a_peer_is_spelled_with_its_port(peer: Peer, text: str) -> None:
    assert str(peer) == text


def test_the_first_of_several_fields_is_found_in_any_case() -> None:
    request = ProxyRequest(
        RequestKind.FORWARD,
        "GET",
        Target("http", NAME, 80, b"/"),
        "1.1",
        ((b"A", b"1"), (b"aCCept", b"2"), (b"Accept", b"3")),
        Body(BodyKind.NONE),
        keep_alive=True,
    )
    assert (request.field(b"accept"), request.field(b"b")) == (b"2", None)
    assert not request.expects_continue


@pytest.mark.parametrize(
    "value", [NAME, Target("http", NAME, 80), Peer(V4, 1), Identity("a"), Verdict(True, "r", "x")]
)
def test_values_are_frozen_and_equal_by_content(value: object) -> None:
    assert dataclasses.is_dataclass(value)
    assert not isinstance(value, type)
    assert dataclasses.replace(value) == value
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


def test_the_words_of_records_are_fixed() -> None:
    words = {
        kind.__name__: [member.value for member in kind]
        for kind in (model.Side, model.CloseReason, model.RequestKind)
    }
    assert words == {
        "Side": ["client", "upstream", "proxy"],
        "CloseReason": [
            "eof",
            "reset",
            "idle",
            "lifetime",
            "stalled",
            "quota",
            "drained",
            "timeout",
            "policy",
            "revoked",
            "refused",
            "protocol",
            "internal",
        ],
        "RequestKind": ["connect", "forward", "upgrade", "own"],
    }
