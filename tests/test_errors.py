"""What each failure is called on every surface: one table, complete."""

from __future__ import annotations

import logging
from http import HTTPStatus

import pytest

from wsproxy import errors
from wsproxy.errors import (
    ClientProtocolError,
    ConfigError,
    Denied,
    Face,
    LimitReached,
    WsproxyError,
    face,
)

# RFC 9209 §2.3 and the registry it made.
TOKENS = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}

FACES = {
    "AuthContinue": (407, "http_request_denied", "info"),
    "AuthUnavailable": (503, "http_request_denied", "warning"),
    "ClientTlsError": (400, "tls_protocol_error", "info"),
    "UpstreamTlsError": (502, "tls_protocol_error", "info"),
    "AuthOverloaded": (503, "http_request_denied", "warning"),
    "AuthRequired": (407, "http_request_denied", "info"),
    "ClientGone": (499, "connection_terminated", "info"),
    "ClientProtocolError": (400, "http_request_error", "info"),
    "ClientTimeout": (408, "http_request_error", "info"),
    "ClientStalled": (408, "http_request_error", "info"),
    "ConfigError": (500, "proxy_configuration_error", "error"),
    "ConnectFailed": (502, "destination_ip_unroutable", "info"),
    "ConnectRefused": (502, "connection_refused", "info"),
    "ConnectTimeout": (504, "connection_timeout", "info"),
    "Denied": (403, "http_request_denied", "info"),
    "DescriptorsExhausted": (503, "proxy_internal_error", "error"),
    "LimitReached": (503, "connection_limit_reached", "warning"),
    "LoopDetected": (508, "proxy_loop_detected", "warning"),
    "QuotaSpent": (429, "http_request_denied", "info"),
    "ResolveFailed": (502, "dns_error", "info"),
    "ResolveTimeout": (504, "dns_timeout", "info"),
    "SourceUnavailable": (503, "proxy_configuration_error", "error"),
    "UpstreamClosed": (502, "connection_terminated", "info"),
    "UpstreamProtocolError": (502, "http_protocol_error", "info"),
    "UpstreamStalled": (504, "connection_write_timeout", "info"),
    "UpstreamTimeout": (504, "http_response_timeout", "info"),
    "WsproxyError": (500, "proxy_internal_error", "error"),
}
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, WsproxyError)
}
EXTRA: dict[str, dict[str, object]] = {
    "ConfigError": {"file": "f"},
    "Denied": {"rule": "r"},
    "LimitReached": {"status": 503},
    "QuotaSpent": {"retry_after_s": 9},
}


def make(name: str) -> WsproxyError:
    if name == "AuthContinue":
        return errors.AuthContinue(b"Negotiate x")
    return KINDS[name]("it broke", **EXTRA.get(name, {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_failure_has_the_face_of_the_table(name: str) -> None:
    assert face(make(name)) == Face(*FACES[name])
    assert make(name).detail == ("authentication goes on" if name == "AuthContinue" else "it broke")


@pytest.mark.parametrize("name", sorted(FACES))
def test_a_face_is_made_of_words_that_others_know(name: str) -> None:
    status, token, level = FACES[name]
    assert token in TOKENS
    assert level.upper() in logging.getLevelNamesMapping()
    # 499 is only ever recorded: nobody is left to get it.
    assert status in set(HTTPStatus) or name == "ClientGone"


def test_every_failure_is_exported() -> None:
    assert set(KINDS) < set(errors.__all__)


def test_an_instance_may_know_better_than_its_class() -> None:
    assert face(ClientProtocolError("long", status=414)).status == 414
    assert face(LimitReached("mine", status=429)).status == 429
    assert face(Denied("in", rule="r", token="destination_ip_prohibited")).token == (
        "destination_ip_prohibited"
    )


def test_a_new_kind_of_failure_looks_like_its_nearest_relative() -> None:
    class Unreachable(errors.ConnectRefused):
        pass

    assert face(Unreachable("x")) == Face(*FACES["ConnectRefused"])


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("y"), ExceptionGroup("g", [OSError()])]
)
def test_a_bug_looks_like_a_fault_of_ours(error: Exception) -> None:
    assert face(error) == Face(500, "proxy_internal_error", "error")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "f.yaml: wrong"),
        ({"key": "a.b"}, "f.yaml: a.b: wrong"),
        ({"line": 3, "column": 7}, "f.yaml:3:7: wrong"),
        ({"line": 3, "column": 7, "key": "a.b"}, "f.yaml:3:7: a.b: wrong"),
        ({"line": 3}, "f.yaml:3:0: wrong"),
    ],
)
def test_a_configuration_error_says_where(place: dict[str, object], text: str) -> None:
    assert str(ConfigError("wrong", file="f.yaml", **place)) == text  # type: ignore[arg-type]
