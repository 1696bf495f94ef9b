"""Clients that break off."""

from __future__ import annotations

from ipaddress import ip_address

from wsproxy.model import Host
from wsproxy.proxy import pins
from wsproxy.proxy.pins import Pins

CLIENT, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")
HOST = Host("pinned.test")


def test_so_many_failures_in_a_row_and_the_client_passes_for_a_while() -> None:
    made = Pins(3, 100.0)
    assert [made.failed(CLIENT, HOST, now) for now in (0.0, 1.0)] == [False, False]
    assert not made.passes(CLIENT, HOST, 1.5)
    assert made.failed(CLIENT, HOST, 2.0)
    assert made.passes(CLIENT, HOST, 101.9)
    assert not made.passes(CLIENT, HOST, 102.0)
    assert not made.passes(OTHER, HOST, 3.0)
    assert not made.passes(CLIENT, Host("else.test"), 3.0)


def test_old_failures_do_not_count() -> None:
    made = Pins(2, 10.0)
    made.failed(CLIENT, HOST, 0.0)
    assert not made.failed(CLIENT, HOST, 10.0)
    assert made.failed(CLIENT, HOST, 11.0)


def test_success_begins_anew() -> None:
    made = Pins(2, 10.0)
    made.failed(CLIENT, HOST, 0.0)
    made.succeeded(CLIENT, HOST)
    assert not made.failed(CLIENT, HOST, 1.0)
    made.succeeded(OTHER, HOST)


def test_only_the_latest_are_remembered() -> None:
    made = Pins(1, 10.0)
    for number in range(pins._MOST + 1):
        made.failed(CLIENT, Host(f"{number}.test"), 0.0)
    assert not made.passes(CLIENT, Host("0.test"), 1.0)
    assert made.passes(CLIENT, Host("1.test"), 1.0)
