"""T14, T15: credentials, malformed and misplaced, sent to a proxy that requires them.

The user is ``alice`` with the password ``open:sesame``; ``@C@`` stands for her credentials in
Base64.  What is refused is refused with 407 and reaches nothing.
"""

from __future__ import annotations

from dataclasses import replace

from tests.hostile.case import Case, passed, refused, tunnelled

USER = "alice"
PASSWORD = "open:sesame"

_PLAIN = b"GET http://@O@/ HTTP/1.1\r\nHost: @O@\r\n"
_CONNECT = b"CONNECT @O@ HTTP/1.1\r\nHost: @O@\r\n"
_SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\nHost: @O@\r\n\r\n"


def _field(value: bytes) -> bytes:
    return b"Proxy-Authorization: " + value + b"\r\n"


_BAD = {
    "none": b"",
    "empty": _field(b""),
    "scheme only": _field(b"Basic"),
    "scheme and space": _field(b"Basic "),
    "no scheme": _field(b"@C@"),
    "wrong password": _field(b"Basic YWxpY2U6d3Jvbmc="),
    "empty password": _field(b"Basic YWxpY2U6"),
    "password without its second half": _field(b"Basic YWxpY2U6b3Blbg=="),
    "password with something more": _field(b"Basic YWxpY2U6b3BlbjpzZXNhbWV4"),
    "password in upper case": _field(b"Basic YWxpY2U6T1BFTjpTRVNBTUU="),
    "unknown user": _field(b"Basic Ym9iOm9wZW46c2VzYW1l"),
    "user in upper case": _field(b"Basic QUxJQ0U6b3BlbjpzZXNhbWU="),
    "user with a space": _field(b"Basic YWxpY2UgOm9wZW46c2VzYW1l"),
    "empty user": _field(b"Basic Om9wZW46c2VzYW1l"),
    "only a colon": _field(b"Basic Og=="),
    "no colon": _field(b"Basic YWxpY2U="),
    "NUL in the user": _field(b"Basic YWxpY2UAOm9wZW46c2VzYW1l"),
    "NUL behind the password": _field(b"Basic YWxpY2U6b3BlbjpzZXNhbWUA"),
    "newline behind the password": _field(b"Basic YWxpY2U6b3BlbjpzZXNhbWUK"),
    "newline in the user": _field(b"Basic YWxpCmNlOm9wZW46c2VzYW1l"),
    "not UTF-8": _field(b"Basic /////zo="),
    "not Base64": _field(b"Basic !!!!"),
    "Base64 with a space": _field(b"Basic YWxpY2U6 b3BlbjpzZXNhbWU="),
    "Base64 of one letter": _field(b"Basic Y"),
    "Base64 with junk behind": _field(b"Basic @C@!!"),
    "Base64 in a list": _field(b"Basic @C@, Basic @C@"),
    "Base64 with a parameter": _field(b"Basic @C@, realm=x"),
    "quoted": _field(b'Basic "@C@"'),
    "in plain text": _field(b"Basic alice:open:sesame"),
    "scheme misspelt": _field(b"Basicc @C@"),
    "scheme with colon": _field(b"Basic: @C@"),
    "Bearer": _field(b"Bearer @C@"),
    "Digest": _field(b'Digest username="alice", realm="wsproxy", nonce="x", uri="/", response="y"'),
    "NTLM": _field(b"NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAA="),
    "Negotiate": _field(b"Negotiate YIIB"),
    "unknown scheme": _field(b"X-Unknown @C@"),
    "in Authorization": b"Authorization: Basic @C@\r\n",
    "in Proxy-Authenticate": b"Proxy-Authenticate: Basic @C@\r\n",
    "in X-Proxy-Authorization": b"X-Proxy-Authorization: Basic @C@\r\n",
    "huge token": _field(b"Basic " + b"QUFB" * 12_000),
    "huge user": _field(b"Basic " + b"QUFB" * 10_000 + b"Om9wZW4="),
    "high octets": _field(b"Basic \xff\xfe"),
}


def _bad() -> list[Case]:
    cases = []
    for name, fields in _BAD.items():
        get = _PLAIN + fields + b"\r\n"
        cases.append(refused("T14", f"GET {name}", get, 407, classes="", closes=False))
        connect = _CONNECT + fields + b"\r\n" + _SMUGGLED
        cases.append(refused("T14", f"CONNECT {name}", connect, 407, classes=""))
    return cases


_GOOD = _field(b"Basic @C@")


def _several() -> list[Case]:
    bad = _field(b"Basic YWxpY2U6d3Jvbmc=")
    fields = {
        "two alike": _GOOD + _GOOD,
        "good then bad": _GOOD + bad,
        "bad then good": bad + _GOOD,
        "good then empty": _GOOD + _field(b""),
        "good then Bearer": _GOOD + _field(b"Bearer x"),
    }
    smuggling = (
        _PLAIN + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED
    )
    return [
        refused("T14", f"several: {name}", _PLAIN + field + b"\r\n", (400, 407), classes="")
        for name, field in fields.items()
    ] + [
        refused(
            "T14",
            "space before the colon",
            _PLAIN + b"Proxy-Authorization : Basic @C@\r\n\r\n",
            (400, 407),
            classes="",
        ),
        refused(
            "T14",
            "folded",
            _PLAIN + b"Proxy-Authorization: Basic\r\n @C@\r\n\r\n",
            (400, 407),
            classes="",
        ),
        refused(
            "T14",
            "in userinfo",
            _PLAIN.replace(b"//@O@", b"//alice:open%3Asesame@@O@") + b"\r\n",
            (400, 407),
            classes="",
        ),
        refused("T14", "framing conflict without credentials", smuggling, (400, 407), classes=""),
    ]


def _bodies() -> list[Case]:
    """A 407 to a request with a body reads that body, and then goes on with the next request."""
    post = b"POST http://@O@/ HTTP/1.1\r\nHost: @O@\r\n"
    good = _PLAIN + _GOOD + b"\r\n"
    length = post + b"Content-Length: 5\r\n\r\nhello"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    hidden = post + b"Content-Length: %d\r\n\r\n" % len(b"GET /smuggled HTTP/1.1\r\n\r\n")
    hidden += b"GET /smuggled HTTP/1.1\r\n\r\n"
    denied, allowed = frozenset((407,)), frozenset((200,))

    def then_good(name: str, data: bytes) -> Case:
        case = passed("T14", name, data + good, b"GET /", lacks=(b"hello", b"smuggled"))
        return replace(case, answers=(denied, allowed))

    return [
        then_good("407 to a length body, then good", length),
        then_good("407 to a chunked body, then good", chunked),
        then_good("407 to a body like a request, then good", hidden),
        then_good("407 without body, then good", _PLAIN + b"\r\n"),
        replace(
            passed(
                "T14", "good, then none: each request for itself", good + _PLAIN + b"\r\n", b"GET /"
            ),
            answers=(allowed, denied),
        ),
        replace(
            refused(
                "T14",
                "407 to Expect, no body sent",
                post + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
                407,
                classes="",
            ),
            closes=False,
        ),
    ]


def _good() -> list[Case]:
    return [
        passed("T15", "good", _PLAIN + _GOOD + b"\r\n"),
        passed("T15", "scheme in odd case", _PLAIN + _field(b"bAsIc @C@") + b"\r\n"),
        passed("T15", "field in odd case", _PLAIN + b"pROXY-aUTHORIZATION: Basic @C@\r\n\r\n"),
        passed(
            "T15",
            "nominated by Connection",
            _PLAIN + b"Connection: Proxy-Authorization\r\n" + _GOOD + b"\r\n",
        ),
        passed(
            "T15",
            "with the origin's own",
            _PLAIN + _GOOD + b"Authorization: Basic b3duOm93bg==\r\n\r\n",
            has=(b"authorization: basic b3duom93bg==",),
        ),
        tunnelled("T15", "CONNECT", _CONNECT + _GOOD + b"\r\nhello", b"hello"),
    ]


CASES = [*_bad(), *_several(), *_bodies(), *_good()]
