"""Compares what happened with what a case allows; every difference is one sentence."""

from __future__ import annotations

import re
from typing import Any

from tests.hostile.case import Case
from tests.hostile.strict import Reading, Response, Unsafe, read_requests, read_responses
from tests.support.rawnet import Exchange, RecordingOrigin

__all__ = ["CONNECTED", "judge", "judge_anonymous", "judge_records"]

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PROXY_STATUS = re.compile(rb"wsproxy; error=[a-z_]+(; [a-z-]+=(\"[\x20-\x7e]*\"|[a-z0-9_-]+))+")

Record = dict[str, Any]


def judge(case: Case, exchange: Exchange, origin: RecordingOrigin) -> tuple[list[str], list[int]]:
    """What is wrong with the outcome of `case`, and the final statuses its client saw."""
    problems: list[str] = []
    if exchange.ended is None:
        problems.append("hang: the proxy neither answered fully nor closed")
    try:
        responses, rest = read_responses(
            exchange.received, _methods(case), ended=exchange.ended == "eof"
        )
    except Unsafe as error:
        return [*problems, f"client got {error}"], []
    finals = [r for r in responses if r.status >= 200 or r.status == 101]
    problems += _check_answers(case, finals)
    was_refused = bool(finals) and finals[-1].status >= 400
    problems += _check_origin(case, origin, was_refused=was_refused)
    if case.tunnel is not None and rest != case.tunnel:
        problems.append(f"{len(case.tunnel)} octets should have come back, got {rest[:80]!r}")
    if case.tunnel is None and rest:
        problems.append(f"octets behind the answer: {rest[:80]!r}")
    return problems, [r.status for r in finals]


def _methods(case: Case) -> tuple[str, ...]:
    if case.lines:
        return tuple(line.split(b" ")[0].decode("latin-1") for line in case.lines)
    return (case.method,)


def _check_answers(case: Case, finals: list[Response]) -> list[str]:
    statuses = [response.status for response in finals]
    if not statuses and case.may_be_silent:
        return []
    if len(statuses) != len(case.answers):
        return [f"{len(case.answers)} answers expected, got {statuses}"]
    allowed = zip(statuses, case.answers, strict=True)
    problems = [
        f"status {status}, expected {sorted(good)}"
        for status, good in allowed
        if status not in good
    ]
    if case.method == "CONNECT" and case.tunnel is not None and finals[0].fields:
        problems.append(f"fields in the 200 to CONNECT: {finals[0].fields}")
    for response in finals:
        problems += _check_refusal(response, closes=case.closes)
    return problems


def _check_refusal(response: Response, *, closes: bool) -> list[str]:
    if response.status < 400:
        return []
    problems = []
    if not response.complete or response.value(b"content-length") is None:
        problems.append(f"{response.status} without exact Content-Length")
    status = response.value(b"proxy-status")
    if response.status == 404:
        return problems  # a page of the proxy's own that does not exist: no failure of proxying
    if status is None or _PROXY_STATUS.fullmatch(status) is None:
        problems.append(f"{response.status} with Proxy-Status {status!r}")
    if closes and response.value(b"connection") != b"close":
        problems.append(f"{response.status} closes without saying so")
    if response.status == 407 and response.value(b"proxy-authenticate") is None:
        problems.append("407 without Proxy-Authenticate")
    if b"<script" in response.body.lower() or b"<script" in (status or b"").lower():
        problems.append("the refusal has a script in it")
    if b"smuggled" in response.body or b"hunter2" in response.body:
        problems.append("the refusal echoes what was sent")
    return problems


def _check_origin(case: Case, origin: RecordingOrigin, *, was_refused: bool) -> list[str]:
    received = origin.received
    if case.lines == () and case.tunnel is None:
        count = len(origin.connections)
        return [f"{count} connections to the origin, received {received[:200]!r}"] if count else []
    problems = []
    if case.tunnel is not None and case.lines == ():
        if received != case.tunnel:
            problems.append(
                f"{len(case.tunnel)} octets in the tunnel, origin got {received[:80]!r}"
            )
        return problems
    lowered = received.lower()
    problems += [f"origin did not get {octets!r}" for octets in case.has if octets not in lowered]
    problems += [f"origin got {octets!r}" for octets in case.lacks if octets in lowered]
    try:
        readings = [read_requests(bytes(c.received), origin.authority) for c in origin.connections]
    except Unsafe as error:
        return [*problems, f"unsafe at the origin: {error}"]
    return problems + _check_readings(case, origin, readings, was_refused=was_refused)


def _check_readings(
    case: Case, origin: RecordingOrigin, readings: list[Reading], *, was_refused: bool
) -> list[str]:
    problems = []
    requests = [request for reading in readings for request in reading.requests]
    tunnel = b"".join(reading.tunnel for reading in readings)
    if tunnel != (case.tunnel or b""):
        problems.append(f"octets behind the handshake at the origin: {tunnel[:80]!r}")
    lines = tuple(request.line for request in requests)
    if case.lines is not None and lines != case.lines:
        problems.append(f"origin got {lines}, expected {case.lines}")
    if case.body is not None and requests and requests[-1].body != case.body:
        problems.append(f"origin got the body {requests[-1].body!r}")
    if case.is_cut and len(requests) > 1:
        problems.append(f"origin got several requests: {lines}")
    for request in requests:
        may_be_cut = case.is_cut or (case.lines is None and was_refused)
        if (request.complete and case.is_cut) or not (request.complete or may_be_cut):
            problems.append(f"complete at the origin is {request.complete}: {request.line!r}")
    if any(connection.ended is None for connection in origin.connections):
        problems.append("the connection to the origin was left open")
    return problems


def judge_anonymous(
    case: Case, exchange: Exchange, origin: RecordingOrigin
) -> tuple[list[str], list[int]]:
    """As `judge`, when the proxy asks for credentials and the client has none."""
    problems = [] if exchange.ended is not None else ["hang"]
    if origin.connections:
        problems.append(f"without credentials the origin got {origin.received[:200]!r}")
    try:
        responses, rest = read_responses(exchange.received, _methods(case))
    except Unsafe as error:
        return [*problems, f"client got {error}"], []
    statuses = [response.status for response in responses]
    if not statuses and not case.may_be_silent:
        problems.append("no answer")
    own_page = case.name.startswith("own page")
    problems += [f"status {s} without credentials" for s in statuses if s < 400 and not own_page]
    if rest:
        problems.append(f"octets behind the answer: {rest[:80]!r}")
    for response in responses:
        problems += _check_refusal(response, closes=False)
    return problems, statuses


def judge_records(
    case: Case, statuses: list[int], records: list[Record], *, anonymous: bool
) -> list[str]:
    """What is wrong with the access records of one client connection that saw `statuses`."""
    logged = [record["status"] for record in records]
    if logged != statuses and not (not statuses and len(logged) == 1):
        return [f"client saw {statuses}, records say {logged}"]
    problems = []
    if case.classes and not anonymous and records[-1]["class"] not in case.classes:
        problems.append(f"class {records[-1]['class']}, expected {sorted(case.classes)}")
    if case.row == "T11" and any(record["address"] is not None for record in records):
        problems.append(f"an address was dialled: {[record['address'] for record in records]}")
    text = repr(records)
    if "smuggled" in text and case.lines == () and "/smuggled" not in str(records[0]["target"]):
        problems.append("a smuggled request has a record")
    return problems
