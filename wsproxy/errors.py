"""Everything that can go wrong on purpose, and what each failure is called on every surface.

The class says who is to blame and the table at the end says the rest: the
HTTP status a client gets, the RFC 9209 error token for ``Proxy-Status`` and the
access record, and the level of the log line.  Nothing else in the project
decides a status for a failure.

Normal endings (end of stream, idle, drained) are no errors: see
`wsproxy.model.CloseReason`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AuthContinue",
    "AuthOverloaded",
    "AuthRequired",
    "AuthUnavailable",
    "ClientGone",
    "ClientProtocolError",
    "ClientStalled",
    "ClientTimeout",
    "ClientTlsError",
    "ConfigError",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectTimeout",
    "Denied",
    "DescriptorsExhausted",
    "Face",
    "LimitReached",
    "LoopDetected",
    "QuotaSpent",
    "ResolveFailed",
    "ResolveTimeout",
    "SourceUnavailable",
    "UpstreamClosed",
    "UpstreamProtocolError",
    "UpstreamStalled",
    "UpstreamTimeout",
    "UpstreamTlsError",
    "WsproxyError",
    "face",
]


class WsproxyError(Exception):
    """Base of every failure this project raises on purpose.

    Args:
        detail: one sentence without secrets, shown to the client and written
            to the record.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ConfigError(WsproxyError):
    """The configuration, or a file it names, cannot be used.

    Args:
        detail: what is wrong and what to do about it.
        file: path of the file, as the user would type it.
        line: from 1; 0 when the whole file is meant.
        column: from 1; 0 when the whole line is meant.
        key: dotted path of the key, such as ``policy.rules[0].when``; may be empty.
    """

    def __init__(
        self, detail: str, *, file: str, line: int = 0, column: int = 0, key: str = ""
    ) -> None:
        super().__init__(detail)
        self.file = file
        self.line = line
        self.column = column
        self.key = key

    def __str__(self) -> str:
        """``FILE:LINE:COL: key.path: message``, the form editors and people can jump from."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.key}: {self.detail}" if self.key else f"{where}: {self.detail}"


class ClientProtocolError(WsproxyError):
    """The client sent something that is not a request this proxy will act on.

    Args:
        detail: which rule was broken.
        status: the answer; 400 unless a more exact one exists (414, 431, 501, 505).
        row: the threat row of docs/security.md (``T1`` … ``T32``) this belongs to.
    """

    def __init__(self, detail: str, *, status: int = 400, row: str = "T1") -> None:
        super().__init__(detail)
        self.status = status
        self.row = row


class ClientTimeout(WsproxyError):
    """The client did not finish a head or a body in time."""


class ClientStalled(ClientTimeout):
    """The client takes nothing of an answer that waits for it."""


class ClientGone(WsproxyError):
    """The client's connection broke; nobody is left to answer."""


class AuthRequired(WsproxyError):
    """No credentials, or wrong ones.  The answer is always 407 with a challenge."""

    stale = False
    """They were right, but too old."""
    scheme = ""
    """Of the credentials that were refused, as in a challenge; empty: none came."""


class AuthContinue(AuthRequired):
    """The method needs another leg.  The answer is 407, and the connection is kept for it.

    Args:
        challenge: the value of the only ``Proxy-Authenticate`` field.
    """

    def __init__(self, challenge: bytes) -> None:
        super().__init__("authentication goes on")
        self.challenge = challenge


class AuthOverloaded(WsproxyError):
    """More credentials wait to be verified than the configured bound; nobody was let in."""


class AuthUnavailable(WsproxyError):
    """Who could tell whose the credentials are does not answer; nobody was let in."""


class Denied(WsproxyError):
    """Policy or address vetting refused the request.

    Args:
        detail: the reason, in words.
        rule: name of the rule that decided, or of the built-in one.
        message: what the rule's author wants the refused person to read; may be empty.
        token: RFC 9209 token, ``http_request_denied`` or ``destination_ip_prohibited``.
        row: the threat row of docs/security.md this belongs to, if it is one.
    """

    def __init__(
        self,
        detail: str,
        *,
        rule: str,
        message: str = "",
        token: str = "http_request_denied",
        row: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.row = row
        self.rule = rule
        self.message = message
        self.token = token


class LoopDetected(WsproxyError):
    """The request has been here before (RFC 9110 §7.6.3)."""


class LimitReached(WsproxyError):
    """A configured limit is used up.

    Args:
        detail: which limit.
        status: 429 for one client's or user's limit, 503 for the whole proxy's.
        retry_after_s: seconds for the ``Retry-After`` field.
    """

    def __init__(self, detail: str, *, status: int, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after_s = retry_after_s


class QuotaSpent(LimitReached):
    """A user has moved as many bytes as are allowed in a time.

    Args:
        detail: which limit.
        retry_after_s: seconds until there are some again.
    """

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail, status=429, retry_after_s=retry_after_s)


class DescriptorsExhausted(WsproxyError):
    """The operating system has no descriptor or memory left for another socket."""


class ResolveFailed(WsproxyError):
    """The target's name has no address.

    Args:
        detail: the name, and why.
        rcode: what DNS says of it, such as ``NXDOMAIN``; empty if that is not known.
    """

    def __init__(self, detail: str, *, rcode: str = "") -> None:
        super().__init__(detail)
        self.rcode = rcode


class ResolveTimeout(WsproxyError):
    """The resolver did not answer in time."""


class ConnectFailed(WsproxyError):
    """No vetted address could be reached (network or host unreachable and the like)."""


class ConnectRefused(ConnectFailed):
    """The last vetted address refused the connection."""


class ConnectTimeout(ConnectFailed):
    """No vetted address answered in time."""


class SourceUnavailable(WsproxyError):
    """The address to connect from is not this machine's any more."""


class UpstreamProtocolError(WsproxyError):
    """The upstream sent something that is not a response this proxy will relay."""


class UpstreamClosed(WsproxyError):
    """The upstream went away before its response was complete."""


class UpstreamTimeout(WsproxyError):
    """The upstream kept the connection but did not answer in time."""


class UpstreamStalled(UpstreamTimeout):
    """The upstream takes nothing of a request that waits for it."""


class UpstreamTlsError(WsproxyError):
    """The upstream is not who it must be, or does not speak TLS as this proxy does.

    Args:
        detail: which of the two, and why.
        token: RFC 9209 token that says it best.
        status: 502, or 504 when it took too long.
        wants_other_protocol: it speaks none of the application protocols we offer.
    """

    def __init__(
        self,
        detail: str,
        *,
        token: str = "tls_protocol_error",
        status: int = 502,
        wants_other_protocol: bool = False,
    ) -> None:
        super().__init__(detail)
        self.token = token
        self.status = status
        self.wants_other_protocol = wants_other_protocol


class ClientTlsError(WsproxyError):
    """The client did not finish the TLS handshake with us; there is no way to answer it.

    Args:
        detail: what it said, if anything.
        distrusts: it may be that it does not trust our certificate.
        token: ``connection_terminated`` when it left without a word.
    """

    def __init__(
        self, detail: str, *, distrusts: bool = False, token: str = "tls_protocol_error"
    ) -> None:
        super().__init__(detail)
        self.distrusts = distrusts
        self.token = token


@dataclass(frozen=True, slots=True)
class Face:
    """How one failure looks from outside.

    Attributes:
        status: HTTP status code of the answer.
        token: RFC 9209 §2.3 proxy error type.
        level: level of the log line, a name `logging` knows.
    """

    status: int
    token: str
    level: str


_FACES: dict[type[WsproxyError], Face] = {
    ClientProtocolError: Face(400, "http_request_error", "info"),
    ClientTimeout: Face(408, "http_request_error", "info"),
    ClientStalled: Face(408, "http_request_error", "info"),
    ClientGone: Face(499, "connection_terminated", "info"),
    AuthRequired: Face(407, "http_request_denied", "info"),
    AuthOverloaded: Face(503, "http_request_denied", "warning"),
    AuthUnavailable: Face(503, "http_request_denied", "warning"),
    Denied: Face(403, "http_request_denied", "info"),
    LoopDetected: Face(508, "proxy_loop_detected", "warning"),
    LimitReached: Face(503, "connection_limit_reached", "warning"),
    QuotaSpent: Face(429, "http_request_denied", "info"),
    DescriptorsExhausted: Face(503, "proxy_internal_error", "error"),
    ResolveFailed: Face(502, "dns_error", "info"),
    ResolveTimeout: Face(504, "dns_timeout", "info"),
    ConnectFailed: Face(502, "destination_ip_unroutable", "info"),
    ConnectRefused: Face(502, "connection_refused", "info"),
    ConnectTimeout: Face(504, "connection_timeout", "info"),
    SourceUnavailable: Face(503, "proxy_configuration_error", "error"),
    UpstreamProtocolError: Face(502, "http_protocol_error", "info"),
    UpstreamClosed: Face(502, "connection_terminated", "info"),
    UpstreamTimeout: Face(504, "http_response_timeout", "info"),
    UpstreamStalled: Face(504, "connection_write_timeout", "info"),
    UpstreamTlsError: Face(502, "tls_protocol_error", "info"),
    ClientTlsError: Face(400, "tls_protocol_error", "info"),
    ConfigError: Face(500, "proxy_configuration_error", "error"),
    WsproxyError: Face(500, "proxy_internal_error", "error"),
}


def face(error: BaseException) -> Face:
    """How `error` looks from outside; a bug (any other exception) looks like 500.

    Statuses and tokens that depend on the instance (414 against 400, a
    refused address against a refused name) override the table's.
    """
    entry = next(
        (_FACES[kind] for kind in type(error).__mro__ if kind in _FACES), _FACES[WsproxyError]
    )
    return Face(
        status=getattr(error, "status", entry.status),
        token=getattr(error, "token", entry.token),
        level=entry.level,
    )
