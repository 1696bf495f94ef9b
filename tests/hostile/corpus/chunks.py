"""T5, T6: chunk grammar, truncated bodies and trailers."""

from __future__ import annotations

from tests.hostile.case import Case, aborted, either, head, passed

CHUNKED_HEAD = head(b"POST http://@O@/ HTTP/1.1", b"Transfer-Encoding: chunked")
LENGTH_HEAD = head(b"POST http://@O@/ HTTP/1.1", b"Content-Length: 20")
_SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"
_LAST = b"\r\nhello\r\n0\r\n\r\n"


def _sizes() -> list[Case]:
    bad = {
        "negative": b"-5",
        "minus zero": b"-0",
        "plus sign": b"+5",
        "0x prefix": b"0x5",
        "0X prefix": b"0X5",
        "underscore": b"0_5",
        "leading space": b" 5",
        "leading tab": b"\t5",
        "not hexadecimal": b"g",
        "empty": b"",
        "empty with extension": b";x=y",
        "h suffix": b"5h",
        "decimal point": b"5.0",
        "comma": b"5,5",
        "two numbers": b"5 5",
        "quoted": b'"5"',
        "NUL before": b"\x005",
        "NUL behind": b"5\x00",
        "vertical tab behind": b"5\x0b",
        "form feed behind": b"5\x0c",
        "no-break space behind": b"5\xa0",
        "fullwidth digit": b"\xef\xbc\x95",
        "17 digits": b"0" * 12 + b"00005",
        "20 digits": b"1" + b"0" * 18 + b"5",
        "2^64 + 5": b"10000000000000005",
        "a thousand zeros": b"0" * 1000 + b"5",
        "bare CR behind": b"5\r",
        "bare CR in the extension": b"5;a\rb",
        "NUL in the extension": b"5;a\x00b",
        "LF in the extension": b"5;a\nb",
        "control octet in the extension": b"5;a=\x01",
        "extension of 64 KiB": b"5;" + b"a" * 64 * 1024,
        "extension of 8000 octets": b"5;" + b"a" * 8000,
    }
    return [
        aborted("T5", f"chunk size: {name}", CHUNKED_HEAD + size + _LAST)
        for name, size in bad.items()
    ]


def _data() -> list[Case]:
    return [
        aborted("T5", "LF behind the size", CHUNKED_HEAD + b"5\nhello\r\n0\r\n\r\n"),
        aborted("T5", "LF behind the data", CHUNKED_HEAD + b"5\r\nhello\n0\r\n\r\n"),
        aborted("T5", "CR behind the data", CHUNKED_HEAD + b"5\r\nhello\r0\r\n\r\n"),
        aborted("T5", "no CRLF behind the data", CHUNKED_HEAD + b"5\r\nhello0\r\n\r\n"),
        aborted("T5", "data longer than the size", CHUNKED_HEAD + b"5\r\nhello world\r\n0\r\n\r\n"),
        aborted("T5", "two octets in place of the CRLF", CHUNKED_HEAD + b"5\r\nhelloXX0\r\n\r\n"),
        aborted("T5", "LF CR behind the data", CHUNKED_HEAD + b"5\r\nhello\n\r0\r\n\r\n"),
        aborted(
            "T5", "second chunk bad", CHUNKED_HEAD + b"5\r\nhello\r\n0x5\r\nworld\r\n0\r\n\r\n"
        ),
        aborted("T5", "last chunk with LF", CHUNKED_HEAD + b"5\r\nhello\r\n0\n\r\n" + _SMUGGLED),
        aborted("T5", "end with LF", CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n\n" + _SMUGGLED),
        aborted("T5", "end with bare CR", CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n\r" + _SMUGGLED),
        aborted("T5", "a request in place of a size", CHUNKED_HEAD + _SMUGGLED),
        aborted("T5", "a request behind broken chunks", CHUNKED_HEAD + b"zz\r\n" + _SMUGGLED),
        aborted(
            "T5",
            "overflowing size, then a request",
            CHUNKED_HEAD + b"10000000000000000\r\n\r\n0\r\n\r\n" + _SMUGGLED,
        ),
        aborted("T5", "broken in another write", (CHUNKED_HEAD, b"5\r\nhello\r\n", b"oops\r\n")),
    ]


def _split() -> list[Case]:
    """Bad sizes that arrive in parts, each of which looks good (an empty piece waits for the origin)."""
    return [
        aborted(
            "T5", "2^64 + 5 in two reads", (CHUNKED_HEAD + b"1" + b"0" * 15, b"", b"05" + _LAST)
        ),
        aborted("T5", "0x and 5 in two reads", (CHUNKED_HEAD + b"0x", b"", b"5" + _LAST)),
        aborted("T5", "minus and 5 in two reads", (CHUNKED_HEAD + b"-", b"", b"5" + _LAST)),
        aborted(
            "T5", "junk and 0 in two reads", (CHUNKED_HEAD + b"zz;", b"", b"0\r\n\r\n" + _SMUGGLED)
        ),
        aborted(
            "T5",
            "no CRLF, then a good end",
            (CHUNKED_HEAD + b"5\r\nhello", b"", b"XX0\r\n\r\n" + _SMUGGLED),
        ),
        aborted(
            "T5",
            "CR, then a good end",
            (CHUNKED_HEAD + b"5\r\nhello\r", b"", b"0\r\n\r\n" + _SMUGGLED),
        ),
        aborted(
            "T5",
            "bad trailer, then a good end",
            (CHUNKED_HEAD + b"0\r\nX-A", b"", b"\r\n\r\n" + _SMUGGLED),
        ),
    ]


def _truncated() -> list[Case]:
    cut = {
        "length, no octet": LENGTH_HEAD,
        "length, some octets": LENGTH_HEAD + b"hello",
        "length, one octet short": LENGTH_HEAD + b"h" * 19,
        "chunked, nothing": CHUNKED_HEAD,
        "chunked, inside a size": CHUNKED_HEAD + b"5",
        "chunked, behind the CR of a size": CHUNKED_HEAD + b"5\r",
        "chunked, behind a size": CHUNKED_HEAD + b"5\r\n",
        "chunked, inside the data": CHUNKED_HEAD + b"5\r\nhel",
        "chunked, behind the data": CHUNKED_HEAD + b"5\r\nhello",
        "chunked, behind a chunk": CHUNKED_HEAD + b"5\r\nhello\r\n",
        "chunked, inside the last size": CHUNKED_HEAD + b"5\r\nhello\r\n0",
        "chunked, without the end": CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n",
        "chunked, inside the end": CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n\r",
        "chunked, inside a trailer": CHUNKED_HEAD + b"5\r\nhello\r\n0\r\nX-A: b",
        "chunked, behind a trailer": CHUNKED_HEAD + b"5\r\nhello\r\n0\r\nX-A: b\r\n",
        "chunked, size of 64 bits": CHUNKED_HEAD + b"FFFFFFFFFFFFFFFF\r\nhello",
        "chunked, size of 63 bits": CHUNKED_HEAD + b"7FFFFFFFFFFFFFFF\r\nhello",
        "length of 60 bits": head(
            b"POST http://@O@/ HTTP/1.1", b"Content-Length: 999999999999999999"
        )
        + b"hello",
    }
    return [
        aborted("T5", f"cut: {name}", data, closes=False, may_be_silent=True, status=(400, 408))
        for name, data in cut.items()
    ]


def _good() -> list[Case]:
    post = b"POST /"

    def good(name: str, chunks: bytes, body: bytes = b"hello", *more: bytes) -> Case:
        return passed("T5", name, CHUNKED_HEAD + chunks, post, *more, body=body)

    return [
        good(
            "chunks of one octet",
            b"".join(b"1\r\n%c\r\n" % octet for octet in b"hello") + b"0\r\n\r\n",
        ),
        good("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n"),
        good(
            "upper and lower case digits",
            b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            b"0123456789" * 2,
        ),
        good("extensions", b'5;a;b=c;d="e f"\r\nhello\r\n0;z\r\n\r\n'),
        good("extension that looks like a size", b"5;0\r\nhello\r\n0\r\n\r\n"),
        good("no data", b"0\r\n\r\n", b""),
        good("data that looks like an end", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
        good("16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    ] + [
        either("T5", "space behind the size", CHUNKED_HEAD + b"5 \r\nhello\r\n0\r\n\r\n"),
        either("T5", "space before an extension", CHUNKED_HEAD + b"5 ;a\r\nhello\r\n0\r\n\r\n"),
        either(
            "T5", "unfinished quote in an extension", CHUNKED_HEAD + b'5;a="\r\nhello\r\n0\r\n\r\n'
        ),
    ]


def _trailers() -> list[Case]:
    dropped = {
        "Content-Length": b"Content-Length: 99",
        "Transfer-Encoding": b"Transfer-Encoding: chunked",
        "Host": b"Host: smuggled.example",
        "Authorization": b"Authorization: Basic c211Z2dsZWQ=",
        "Proxy-Authorization": b"Proxy-Authorization: Basic c211Z2dsZWQ=",
        "Connection": b"Connection: close",
        "Upgrade": b"Upgrade: websocket",
        "Cookie": b"Cookie: smuggled=1",
        "Content-Type": b"Content-Type: text/smuggled",
        "Trailer": b"Trailer: X-A",
        "Via": b"Via: 1.1 smuggled",
        "Expect": b"Expect: 100-continue",
        "Max-Forwards": b"Max-Forwards: 0",
        "TE": b"TE: trailers",
        "Keep-Alive": b"Keep-Alive: timeout=5",
    }
    cases = [
        either("T6", f"trailer {name}", CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n" + field + b"\r\n\r\n")
        for name, field in dropped.items()
    ]
    nominated = head(
        b"POST http://@O@/ HTTP/1.1", b"Transfer-Encoding: chunked", b"Connection: X-Secret"
    )
    cases.append(
        either(
            "T6",
            "trailer that Connection names",
            nominated + b"0\r\nX-Secret: smuggled\r\n\r\n",
            lacks=(b"smuggled",),
        )
    )
    broken = {
        "no colon": b"X-A",
        "space before colon": b"X-A : b",
        "folded": b"X-A: b\r\n c",
        "NUL": b"X-A: \x00",
        "bare LF": b"X-A: b\nX-B: c",
        "bare CR": b"X-A: b\rX-B: c",
        "a request line": b"GET http://@O@/smuggled HTTP/1.1",
        "empty name": b": b",
        "DEL": b"X-A: \x7f",
    }
    cases += [
        aborted(
            "T5", f"trailer: {name}", CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n"
        )
        for name, line in broken.items()
    ]
    flood = b"X-A: b\r\n" * 5000
    cases.append(
        aborted("T5", "trailer flood", CHUNKED_HEAD + b"0\r\n" + flood + b"\r\n", status=(400, 431))
    )
    endless = b"X-A: " + b"b" * 200_000
    cases.append(
        aborted("T5", "trailer without end", CHUNKED_HEAD + b"0\r\n" + endless, status=(400, 431))
    )
    return cases


CASES = [*_sizes(), *_data(), *_split(), *_truncated(), *_good(), *_trailers()]
