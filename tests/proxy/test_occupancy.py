"""Places for client connections."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.errors import LimitReached
from wsproxy.proxy.occupancy import _MAX_TURNING_AWAY, Occupancy

ALICE, BOB = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def refused(occupancy: Occupancy, client: object = ALICE) -> int | None:
    """The status of the refusal, or None and a place taken."""
    try:
        occupancy.enter(client)  # type: ignore[arg-type]
    except LimitReached as error:
        return error.status
    return None


def test_a_full_proxy_refuses_everybody_until_a_place_is_given_back() -> None:
    occupancy = Occupancy(connections=2, connections_per_client=None)
    assert [refused(occupancy, who) for who in (ALICE, ALICE, BOB)] == [None, None, 503]
    occupancy.leave(ALICE)
    assert refused(occupancy, BOB) is None
    assert occupancy.open == 2


def test_one_client_does_not_take_the_places_of_others() -> None:
    occupancy = Occupancy(connections=9, connections_per_client=2)
    assert [refused(occupancy, who) for who in (ALICE, ALICE, ALICE, BOB)] == [
        None,
        None,
        429,
        None,
    ]
    occupancy.leave(ALICE)
    assert refused(occupancy) is None


def test_whoever_is_not_known_yet_takes_a_place_of_all_and_of_nobody() -> None:
    occupancy = Occupancy(connections=2, connections_per_client=1)
    assert [refused(occupancy, who) for who in (None, None, ALICE)] == [None, None, 503]
    occupancy.leave(None)
    assert refused(occupancy, ALICE) is None
    occupancy.leave(ALICE)
    occupancy.leave(None)
    assert (occupancy.open, dict(occupancy._by_client)) == (0, {})


def test_a_refusal_takes_no_place_and_nobody_is_remembered() -> None:
    occupancy = Occupancy(connections=1, connections_per_client=1)
    occupancy.enter(ALICE)
    for _ in range(3):
        assert refused(occupancy) == 503
    occupancy.leave(ALICE)
    assert (occupancy.open, dict(occupancy._by_client)) == (0, {})


def test_only_so_many_are_turned_away_politely_at_one_time() -> None:
    occupancy = Occupancy(connections=1, connections_per_client=None)
    held = [occupancy.turning_away() for _ in range(_MAX_TURNING_AWAY + 1)]
    assert [cm.__enter__() for cm in held] == [True] * _MAX_TURNING_AWAY + [False]
    for cm in held:
        cm.__exit__(None, None, None)
    with occupancy.turning_away() as polite:
        assert polite


def test_a_refusal_that_fails_counts_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsproxy.proxy.occupancy._MAX_TURNING_AWAY", 1)
    occupancy = Occupancy(connections=1, connections_per_client=None)
    failing = occupancy.turning_away()
    assert failing.__enter__()
    assert not failing.__exit__(KeyError, KeyError(), None)
    with occupancy.turning_away() as polite:
        assert polite
