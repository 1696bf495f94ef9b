"""T7, T13, T15 and the fields of RFC 9110 §7.6: Connection, Via, Max-Forwards, Expect, TRACE."""

from __future__ import annotations

from tests.hostile.case import GET, Case, either, head, passed, refused

_POST = b"POST http://@O@/ HTTP/1.1"
_GET = b"GET http://@O@/ HTTP/1.1"


def _get(*fields: bytes) -> bytes:
    return head(_GET, *fields)


def _nominations() -> list[Case]:
    body = b"Content-Length: 5"
    chunked = b"Transfer-Encoding: chunked"
    lacks = (b"x-secret", b"smuggled")
    secret = b"X-Secret: smuggled"
    kept = (b"x-kept: y",)
    return [
        passed(
            "T7",
            "nominated field",
            _get(b"Connection: X-Secret", secret, b"X-Kept: y"),
            lacks=lacks,
            has=kept,
        ),
        passed("T7", "nominated in odd case", _get(b"Connection: x-sEcReT", secret), lacks=lacks),
        passed(
            "T7", "nominated behind its field", _get(secret, b"Connection: X-Secret"), lacks=lacks
        ),
        passed(
            "T7", "nominated in a list", _get(b"Connection: close, X-Secret", secret), lacks=lacks
        ),
        passed(
            "T7",
            "nominated in a list with empty members",
            _get(b"Connection: ,, X-Secret ,", secret),
            lacks=lacks,
        ),
        passed(
            "T7",
            "nominated between tabs",
            _get(b"Connection:\tclose\t,\tX-Secret\t", secret),
            lacks=lacks,
        ),
        passed(
            "T7",
            "nominated in a second Connection",
            _get(b"Connection: keep-alive", b"Connection: X-Secret", secret),
            lacks=lacks,
        ),
        passed(
            "T7",
            "nominated twice",
            _get(b"Connection: X-Secret, X-Secret", secret, secret),
            lacks=lacks,
        ),
        passed("T7", "nominated and absent", _get(b"Connection: X-Absent")),
        passed("T7", "nominated Host", _get(b"Connection: Host")),
        passed(
            "T7", "nominated Via", _get(b"Connection: Via", b"Via: 1.1 earlier"), has=(b"via: ",)
        ),
        passed("T7", "nominated Connection", _get(b"Connection: Connection")),
        passed(
            "T7",
            "nominated Content-Length",
            head(_POST, b"Connection: Content-Length", body) + b"hello",
            b"POST /",
            body=b"hello",
        ),
        passed(
            "T7",
            "nominated Transfer-Encoding",
            head(_POST, b"Connection: Transfer-Encoding", chunked) + b"5\r\nhello\r\n0\r\n\r\n",
            b"POST /",
            body=b"hello",
        ),
        passed(
            "T7",
            "all of them nominated",
            head(_POST, b"Connection: host, content-length, via, date", body) + b"hello",
            b"POST /",
            body=b"hello",
        ),
        either(
            "T7",
            "nominated Authorization",
            _get(b"Connection: Authorization", b"Authorization: Basic YTpi"),
        ),
        either("T7", "nominated Cookie", _get(b"Connection: Cookie", b"Cookie: a=b")),
        either("T7", "nominated Proxy-Authorization", _get(b"Connection: Proxy-Authorization")),
        either(
            "T7",
            "a thousand nominations",
            _get(b"Connection: " + b", ".join(b"x%d" % n for n in range(1000))),
            (200, 400, 431),
        ),
        either("T7", "nomination that is no token", _get(b'Connection: a b, c/d, "e"')),
        either("T7", "nomination with a colon", _get(b"Connection: X-Secret: smuggled")),
        either("T7", "empty Connection", _get(b"Connection:")),
    ]


def _hop_by_hop() -> list[Case]:
    fields = {
        "Keep-Alive": b"Keep-Alive: timeout=5, max=1000",
        "Proxy-Connection": b"Proxy-Connection: keep-alive",
        "Proxy-Connection close": b"Proxy-Connection: close",
        "TE gzip": b"TE: gzip",
        "TE trailers, not nominated": b"TE: trailers",
        "TE trailers": b"TE: trailers\r\nConnection: TE",
        "TE with quality": b"TE: trailers, deflate;q=0.5\r\nConnection: TE",
        "Proxy-Authenticate": b"Proxy-Authenticate: Basic realm=x",
        "Proxy-Authentication-Info": b"Proxy-Authentication-Info: x",
        "Upgrade, not nominated": b"Upgrade: websocket",
        "HTTP2-Settings": b"HTTP2-Settings: AAMAAABkAAQAAP__",
        "Proxy-Connection in odd case": b"pROXY-cONNECTION: x",
    }
    return [passed("T7", f"stripped: {name}", _get(field)) for name, field in fields.items()]


def _expectations() -> list[Case]:
    body = b"Content-Length: 5"
    expect = b"Expect: 100-continue"
    old = b"POST http://@O@/ HTTP/1.0"
    bad = {
        "unknown": b"Expect: 200-ok",
        "empty": b"Expect:",
        "list": b"Expect: 100-continue, 100-continue",
        "with a parameter": b"Expect: 100-continue;x=y",
        "twice": b"Expect: 100-continue\r\nExpect: 100-continue",
        "prefix": b"Expect: 100-continuex",
    }
    cases = [
        either("T9", f"Expect: {name}", head(_POST, field, body) + b"hello", (200, 400, 417))
        for name, field in bad.items()
    ]
    return cases + [
        passed(
            "T9",
            "Expect with the body at once",
            head(_POST, expect, body) + b"hello",
            b"POST /",
            body=b"hello",
        ),
        passed(
            "T9",
            "Expect in odd case",
            head(_POST, b"Expect: 100-CONTINUE", body) + b"hello",
            b"POST /",
            body=b"hello",
        ),
        passed("T9", "Expect without a body", _get(expect)),
        passed(
            "T9", "Expect in HTTP/1.0", head(old, expect, body) + b"hello", b"POST /", body=b"hello"
        ),
        refused(
            "T4",
            "Expect with both framings",
            head(_POST, expect, body, b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        ),
        refused("T4", "Expect with a bad length", head(_POST, expect, b"Content-Length: x")),
    ]


def _stays_here(row: str, name: str, data: bytes, status: tuple[int, ...]) -> Case:
    return refused(row, name, data, status, classes="", closes=False)


def _forwards() -> list[Case]:
    trace = b"TRACE http://@O@/ HTTP/1.1"
    options = b"OPTIONS http://@O@/ HTTP/1.1"
    secret = (b"Cookie: secret=hunter2", b"Authorization: Basic aHVudGVyMg==")
    cases = [
        either(
            "T13", "Max-Forwards: 1 is 0 at the origin", head(options, b"Max-Forwards: 1"), (200,)
        ),
        passed("T13", "Max-Forwards of another method", _get(b"Max-Forwards: 0")),
        either("T15", "TRACE", head(trace, *secret), (200, 400, 403, 405, 501)),
        either(
            "T15",
            "TRACE with a body",
            head(trace, b"Content-Length: 5") + b"hello",
            (200, 400, 405, 501),
        ),
        either(
            "T15",
            "TRACE with chunks",
            head(trace, b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
            (200, 400, 405, 501),
        ),
        _stays_here(
            "T13", "OPTIONS with Max-Forwards: 0", head(options, b"Max-Forwards: 0"), (200, 204)
        ),
        _stays_here(
            "T15",
            "TRACE with Max-Forwards: 0",
            head(trace, b"Max-Forwards: 0", *secret),
            (200, 405, 501),
        ),
    ]
    for value in (b"-1", b"x", b"", b"1.5", b"+1", b"9" * 100, b"1, 2", b"0x1"):
        name = f"Max-Forwards: {value[:10].decode()}"
        cases.append(either("T13", name, head(options, b"Max-Forwards: " + value), (200, 204, 400)))
    return cases


def _via() -> list[Case]:
    kept = {
        "one": b"Via: 1.1 earlier",
        "several": b"Via: 1.0 one, 1.1 two (a comment), HTTP/1.1 three:8080",
        "two fields": b"Via: 1.1 one\r\nVia: 1.1 two",
        "garbage": b"Via: (((",
        "empty": b"Via:",
        "commas": b"Via: ,,,,",
        "another wsproxy's prefix": b"Via: 1.1 wsproxyx",
    }
    return [either("T13", f"Via: {name}", _get(field), (200, 400)) for name, field in kept.items()]


def _markup() -> list[Case]:
    """T16: nothing a client sends may come back as markup, or reach a terminal from the log."""
    script = b"<script>alert(1)</script>"
    private = b"http://10.0.0.1/"
    json = b"Accept: application/json"
    odd = {
        "in the target": b"GET " + private + script + b" HTTP/1.1",
        "in the query": b'GET http://10.0.0.1/?"' + script + b" HTTP/1.1",
        "in the host": b"GET http://" + script + b"/ HTTP/1.1",
        "in the scheme": b"GET " + script + b"://10.0.0.1/ HTTP/1.1",
        "as the method": script + b" " + private + b" HTTP/1.1",
        "as the version": b"GET " + private + b" " + script,
        "in an authority": b"CONNECT " + script + b":443 HTTP/1.1",
    }
    cases = [refused("T16", name, head(line), classes="") for name, line in odd.items()]
    cases += [refused("T16", f"{n}, JSON", head(line, json), classes="") for n, line in odd.items()]
    cases += [
        refused(
            "T16",
            f"User-Agent with {name}",
            head(b"GET " + private + b" HTTP/1.1", b"User-Agent: " + value),
            403,
            classes="",
            closes=False,
        )
        for name, value in {
            "markup": script,
            "high octets": bytes(range(0x80, 0x100)),
            "quotes and braces": b'"}, {"event": "access", "status": 200}',
            "a template": b"${jndi:ldap://127.0.0.1/a} {{7*7}} %n%s",
        }.items()
    ]
    own = b"GET /" + b"?" + b"%3Cscript%3E HTTP/1.1"
    cases.append(refused("T16", "own page", head(own), 200, classes="", closes=False))
    return cases


def _to_head() -> list[Case]:
    """A refusal of HEAD has no body (RFC 9110 §9.3.2), as far as the method can be known."""
    line = b"HEAD http://@O@/ HTTP/1.1"
    return [
        refused("T8", "HEAD without Host", line + b"\r\n@A@X: y\r\n\r\n"),
        refused("T8", "HEAD of another scheme", head(b"HEAD https://@O@/ HTTP/1.1")),
        refused("T4", "HEAD with a bad length", head(line, b"Content-Length: x")),
        refused(
            "T10",
            "HEAD of a private address",
            head(b"HEAD http://10.0.0.1/ HTTP/1.1"),
            403,
            classes="",
            closes=False,
        ),
    ]


def _pipelined() -> list[Case]:
    good = GET + b"\r\n"
    bad = GET + b"X : y\r\n\r\n"
    smuggled = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"
    close = _get(b"Connection: close")
    old = b"GET http://@O@/ HTTP/1.0\r\n@A@\r\n"
    return [
        refused("T1", "bad, good", bad + smuggled),
        refused("T1", "bad, bad, good", bad * 2 + smuggled),
        refused(
            "T4",
            "both framings, good",
            head(_POST, b"Content-Length: 0", b"Transfer-Encoding: chunked")
            + b"0\r\n\r\n"
            + smuggled,
        ),
        passed("T5", "good, good with nothing between", good * 2, b"GET /", b"GET /"),
        passed("T5", "good, empty line, good", good + b"\r\n" + good, b"GET /", b"GET /"),
        passed("T5", "close, then another", close + smuggled, b"GET /"),
        passed(
            "T5",
            "Proxy-Connection: close, then another",
            _get(b"Proxy-Connection: close") + smuggled,
            b"GET /",
        ),
        passed(
            "T5",
            "close in a list and odd case",
            _get(b"Connection: foo, CLOSE") + smuggled,
            b"GET /",
        ),
        passed("T5", "HTTP/1.0, then another", old + smuggled, b"GET /"),
        passed("T5", "twenty", good * 20, *(b"GET /",) * 20),
        passed(
            "T5", "HEAD, then GET", head(b"HEAD http://@O@/ HTTP/1.1") + good, b"HEAD /", b"GET /"
        ),
    ]


CASES = [
    *_nominations(),
    *_hop_by_hop(),
    *_expectations(),
    *_forwards(),
    *_via(),
    *_markup(),
    *_to_head(),
    *_pipelined(),
]
