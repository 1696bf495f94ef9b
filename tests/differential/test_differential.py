"""Goal G2 in small; `python -m tests.differential` runs it at full size."""

from __future__ import annotations

import pytest

from tests.differential import requests, responses
from tests.differential.__main__ import main
from tests.differential.case import Tally
from tests.differential.requests import run_requests
from tests.differential.responses import run_responses
from tests.differential.sockets import run_sockets
from wsproxy.model import Headers
from wsproxy.protocol import body, fields


def test_nothing_unsafe_reaches_the_origin() -> None:
    tally = Tally()
    run_requests(20_000, 1, tally)
    assert (tally.cases, tally.findings) == (20_000, [])
    # Not by refusing everything.
    assert tally.outcomes["forward"] > 5_000
    assert tally.outcomes["upgrade"] > 250
    assert tally.outcomes["refused 400"] > 5_000


def test_nothing_unsafe_reaches_the_client() -> None:
    tally = Tally()
    run_responses(5_000, 1, tally)
    assert (tally.cases, tally.findings) == (5_000, [])
    assert tally.outcomes["relayed"] > 1_250
    assert tally.outcomes["UpstreamProtocolError refused"] > 1_250


def test_nothing_unsafe_reaches_the_origin_over_sockets() -> None:
    tally = Tally()
    run_sockets(1_000, 1, tally)
    assert (tally.cases, tally.findings) == (1_000, [])
    assert tally.outcomes["reached the origin"] > 150


def test_a_seed_repeats_its_cases() -> None:
    first, second, other = Tally(), Tally(), Tally()
    run_requests(500, 7, first)
    run_requests(500, 7, second)
    run_requests(500, 8, other)
    assert first.outcomes == second.outcomes != other.outcomes


def test_the_command_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--requests", "50", "--responses", "50", "--sockets", "50"]) == 0
    printed = capsys.readouterr().out
    assert "requests: 50 cases, seed 1" in printed
    assert "responses: 50 cases, seed 1" in printed
    assert "over sockets: 50 cases, seed 1" in printed
    assert printed.count("findings: 0\n") == 3
    assert "memory: " in printed


def keep_all_trailers(trailers: Headers, _headers: Headers) -> list[tuple[bytes, bytes]]:
    return list(trailers)


def nominate_nothing(_headers: Headers) -> set[bytes]:
    return set()


def take_everything(_framer: body.BodyFramer, data: bytes) -> int:
    return len(data)


def accept_any_switch(_headers: Headers, *, key: bytes) -> None:
    assert key


def test_hop_by_hop_fields_that_cross_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_nominated", nominate_nothing)
    up, down = Tally(), Tally()
    run_requests(300, 1, up)
    run_responses(300, 1, down)
    assert any("crossed, though Connection names it" in finding for finding in up.findings)
    assert any("crossed, though Connection names it" in finding for finding in down.findings)


def test_trailers_that_frame_or_route_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "safe_trailers", keep_all_trailers)
    tally = Tally()
    run_requests(5_000, 1, tally)
    assert any("unsafe at the origin: trailer field" in finding for finding in tally.findings)


def test_a_body_that_swallows_the_next_request_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body.BodyFramer, "take", take_everything)
    tally = Tally()
    run_requests(10_000, 1, tally)
    assert tally.findings != []


def test_a_switch_that_answers_another_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "check_switch", accept_any_switch)
    tally = Tally()
    run_responses(3_000, 1, tally)
    assert any("does not answer the key" in finding for finding in tally.findings)
