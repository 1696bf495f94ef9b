"""T4: Content-Length and Transfer-Encoding, the raw material of request smuggling.

Every body hides a request for ``/smuggled``: wherever two parsers disagree about the end of
the message, it would come out at the origin, where nothing at all may arrive.
"""

from __future__ import annotations

from tests.hostile.case import GET, Case, either, head, passed, refused

POST = b"POST http://@O@/ HTTP/1.1"
POST_1_0 = b"POST http://@O@/ HTTP/1.0"
SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"
CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"


def _lengths() -> list[Case]:
    bad = {
        "plus sign": b"+5",
        "negative": b"-5",
        "minus zero": b"-0",
        "hexadecimal": b"0x5",
        "hexadecimal digits": b"a",
        "octal prefix": b"0o5",
        "decimal point": b"5.0",
        "exponent": b"5e0",
        "underscore": b"1_0",
        "two numbers": b"5 5",
        "list of different": b"5, 6",
        "list with empty member": b"5,",
        "list starting empty": b",5",
        "list of empties": b",",
        "semicolon": b"5;",
        "quoted": b'"5"',
        "trailing letter": b"5a",
        "leading letter": b"a5",
        "a word": b"chunked",
        "empty": b"",
        "Arabic digit": b"\xd9\xa5",
        "fullwidth digit": b"\xef\xbc\x95",
        "superscript in Latin-1": b"\xb2",
        "no-break space": b"\xa05",
        "vertical tab before": b"\x0b5",
        "vertical tab behind": b"5\x0b",
        "form feed behind": b"5\x0c",
        "NUL behind": b"5\x00",
        "bare CR behind": b"5\r",
        "2^63 and more digits": b"9223372036854775808000",
        "2^64 + 5": b"18446744073709551621",
        "2^128 + 5": b"340282366920938463463374607431768211461",
        "a thousand nines": b"9" * 1000,
        "folded": b"\r\n 5",
        "folded twice": b"1\r\n 0",
    }
    return [
        refused(
            "T4",
            f"Content-Length: {name}",
            head(POST, b"Content-Length: " + value) + b"hello" + SMUGGLED,
            classes="T1 T4",
        )
        for name, value in bad.items()
    ]


def _several_lengths() -> list[Case]:
    field = b"Content-Length: "
    same = head(POST, field + b"5", field + b"5") + b"hello"
    return [
        refused(
            "T4",
            "two lengths, 5 then 60",
            head(POST, field + b"5", field + b"60") + b"hello" + SMUGGLED,
        ),
        refused(
            "T4",
            "two lengths, 60 then 5",
            head(POST, field + b"60", field + b"5") + b"hello" + SMUGGLED,
        ),
        refused("T4", "two lengths, 0 then 5", head(POST, field + b"0", field + b"5") + b"hello"),
        refused(
            "T4",
            "two lengths, other fields between",
            head(POST, field + b"0", b"X: y", b"content-length: 5") + b"hello",
        ),
        refused(
            "T4", "three lengths", head(POST, field + b"5", field + b"5", field + b"6") + b"hello"
        ),
        refused("T4", "two lengths, one bad", head(POST, field + b"5", field + b"x") + b"hello"),
        refused("T4", "two lengths, one empty", head(POST, field, field + b"5") + b"hello"),
        refused(
            "T4",
            "space before the colon",
            head(POST, b"Content-Length : 5") + b"hello" + SMUGGLED,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "tab before the colon",
            head(POST, b"Content-Length\t: 5") + b"hello" + SMUGGLED,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "length in an indented line",
            head(POST, b"X: y", b" Content-Length: 5") + b"hello",
            classes="T1 T4",
        ),
        refused(
            "T4",
            "length behind a bare LF",
            head(POST, b"X: y\nContent-Length: 5") + b"hello",
            classes="T1 T4",
        ),
        refused(
            "T4",
            "length behind a bare CR",
            head(POST, b"X: y\rContent-Length: 5") + b"hello",
            classes="T1 T4",
        ),
        refused(
            "T4",
            "length name with NUL",
            head(POST, b"Content-\x00Length: 5") + b"hello",
            classes="T1 T4",
        ),
        either("T4", "the same length twice", same),
        either("T4", "the same length in a list", head(POST, field + b"5, 5") + b"hello"),
        either("T4", "leading zeros", head(POST, field + b"005") + b"hello"),
        either(
            "T4",
            "underscore in the name",
            head(GET_LINE, b"Content_Length: 5"),
            lacks=(b"smuggled",),
        ),
    ]


GET_LINE = b"GET http://@O@/ HTTP/1.1"


def _codings() -> list[Case]:
    bad = {
        "identity": b"identity",
        "gzip": b"gzip",
        "gzip then chunked": b"gzip, chunked",
        "chunked then gzip": b"chunked, gzip",
        "chunked twice": b"chunked, chunked",
        "chunked then identity": b"chunked, identity",
        "identity then chunked": b"identity, chunked",
        "xchunked": b"xchunked",
        "chunkedx": b"chunkedx",
        "x-chunked": b"x-chunked",
        "chunk": b"chunk",
        "quoted": b'"chunked"',
        "single quotes": b"'chunked'",
        "parameter": b"chunked;q=1",
        "empty parameter": b"chunked;",
        "space inside": b"chun ked",
        "two words": b"chunked chunked",
        "cow": b"cow",
        "a number": b"5",
        "trailing NUL": b"chunked\x00",
        "trailing vertical tab": b"chunked\x0b",
        "leading vertical tab": b"\x0bchunked",
        "trailing form feed": b"chunked\x0c",
        "leading NUL": b"\x00chunked",
        "trailing bare CR": b"chunked\r",
        "trailing DEL": b"chunked\x7f",
        "no-break space": b"\xa0chunked",
        "long s": b"chunked\xc5\xbf",
        "Kelvin sign": b"chun\xe2\x84\xaaed",
        "folded": b"\r\n chunked",
        "folded behind": b"chunked\r\n ,gzip",
        "empty": b"",
        "only a comma": b",",
        "percent-encoded": b"%63hunked",
        "escaped quote": b"chun\\ked",
    }
    return [
        refused(
            "T4",
            f"Transfer-Encoding: {name}",
            head(POST, b"Transfer-Encoding: " + value) + CHUNKED_BODY + SMUGGLED,
            (400, 501),
            classes="T1 T4",
        )
        for name, value in bad.items()
    ] + [
        refused(
            "T4",
            "unknown coding is 501",
            head(POST, b"Transfer-Encoding: gzip, chunked") + CHUNKED_BODY,
            501,
        ),
        refused(
            "T4",
            "chunked not last is 400",
            head(POST, b"Transfer-Encoding: chunked, gzip") + CHUNKED_BODY,
        ),
        refused(
            "T4",
            "two fields, chunked and chunked",
            head(POST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + CHUNKED_BODY,
            (400, 501),
        ),
        refused(
            "T4",
            "two fields, identity and chunked",
            head(POST, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked")
            + CHUNKED_BODY,
            (400, 501),
        ),
        refused(
            "T4",
            "two fields, chunked and cow",
            head(POST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow") + CHUNKED_BODY,
            (400, 501),
        ),
        refused(
            "T4",
            "coding: space before the colon",
            head(POST, b"Transfer-Encoding : chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "coding in an indented line",
            head(POST, b"X: y", b" Transfer-Encoding: chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "coding behind a bare LF",
            head(POST, b"X: y\nTransfer-Encoding: chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "coding behind a bare CR",
            head(POST, b"X: y\rTransfer-Encoding: chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "coding name with vertical tab",
            head(POST, b"Transfer-Encoding\x0b: chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        refused(
            "T4",
            "coding name with no-break space",
            head(POST, b"Transfer-Encoding\xa0: chunked") + CHUNKED_BODY,
            classes="T1 T4",
        ),
        either(
            "T4",
            "coding list with empty members",
            head(POST, b"Transfer-Encoding: ,, chunked,") + CHUNKED_BODY,
            (200, 400, 501),
        ),
        either("T4", "coding name with underscore", head(GET_LINE, b"Transfer_Encoding: chunked")),
    ]


def _conflicts() -> list[Case]:
    length, coding = b"Content-Length: 5", b"Transfer-Encoding: chunked"
    zero = b"0\r\n\r\n"
    conflicts = {
        "length then coding": head(POST, length, coding) + zero + SMUGGLED,
        "coding then length": head(POST, coding, length) + zero + SMUGGLED,
        "length zero": head(POST, b"Content-Length: 0", coding) + CHUNKED_BODY,
        "exact length": head(POST, b"Content-Length: 15", coding) + CHUNKED_BODY,
        "in GET": head(GET_LINE, length, coding) + zero + SMUGGLED,
        "names in odd case": head(POST, b"cOnTeNt-LeNgTh: 5", b"TRANSFER-ENCODING: CHUNKED") + zero,
        "fields between": head(POST, length, b"X: y", b"Z: y", coding) + zero,
        "nominated length": head(POST, b"Connection: content-length", length, coding) + zero,
        "nominated coding": head(POST, b"Connection: transfer-encoding", length, coding)
        + CHUNKED_BODY,
        "two lengths and a coding": head(POST, length, length, coding) + zero,
        "bad length and a coding": head(POST, b"Content-Length: x", coding) + zero,
        "length and an unknown coding": head(POST, length, b"Transfer-Encoding: xchunked")
        + b"hello"
        + SMUGGLED,
        "length and identity": head(POST, length, b"Transfer-Encoding: identity") + b"hello",
        "length and an empty coding": head(POST, length, b"Transfer-Encoding:") + b"hello",
    }
    cases = [
        refused("T4", f"both: {name}", data, (400, 501), classes="T4")
        for name, data in conflicts.items()
    ]
    for spelling in (b"chunked", b"Chunked", b"gzip, chunked", b"identity"):
        data = head(POST_1_0, b"Transfer-Encoding: " + spelling) + CHUNKED_BODY
        cases.append(refused("T4", f"HTTP/1.0 with {spelling.decode()}", data, (400, 501)))
    both = head(POST_1_0, b"Connection: keep-alive", length, coding) + zero
    cases.append(refused("T4", "HTTP/1.0 with both", both))
    return cases


def _good() -> list[Case]:
    post = b"POST /"
    return [
        passed(
            "T4", "good length", head(POST, b"Content-Length: 5") + b"hello", post, body=b"hello"
        ),
        passed("T4", "good length zero", head(POST, b"Content-Length: 0"), post, body=b""),
        passed(
            "T4",
            "good length in odd case",
            head(POST, b"cONTENT-lENGTH:5") + b"hello",
            post,
            body=b"hello",
        ),
        passed(
            "T4",
            "good length between tabs",
            head(POST, b"Content-Length:\t5\t ") + b"hello",
            post,
            body=b"hello",
        ),
        passed(
            "T4",
            "good chunked",
            head(POST, b"Transfer-Encoding: chunked") + CHUNKED_BODY,
            post,
            body=b"hello",
        ),
        passed(
            "T4",
            "good chunked in odd case",
            head(POST, b"TRANSFER-encoding:\tChUnKeD ") + CHUNKED_BODY,
            post,
            body=b"hello",
        ),
        passed(
            "T4",
            "GET with a body",
            head(GET_LINE, b"Content-Length: 5") + b"hello",
            b"GET /",
            body=b"hello",
        ),
        passed(
            "T4",
            "DELETE with chunks",
            head(b"DELETE http://@O@/ HTTP/1.1", b"Transfer-Encoding: chunked") + CHUNKED_BODY,
            b"DELETE /",
            body=b"hello",
        ),
        passed(
            "T4",
            "a body that looks like a request",
            head(POST, b"Content-Length: 24") + b"GET /smuggled HTTP/1.1\r\n",
            post,
            body=b"GET /smuggled HTTP/1.1\r\n",
        ),
        passed(
            "T4",
            "two requests in one write",
            head(POST, b"Content-Length: 5") + b"hello" + GET + b"\r\n",
            post,
            b"GET /",
        ),
        passed(
            "T4",
            "three requests, chunked first",
            head(POST, b"Transfer-Encoding: chunked") + CHUNKED_BODY + (GET + b"\r\n") * 2,
            post,
            b"GET /",
            b"GET /",
        ),
        passed(
            "T4",
            "HTTP/1.0 with a length",
            head(POST_1_0, b"Content-Length: 5") + b"hello",
            post,
            body=b"hello",
        ),
    ]


CASES = [*_lengths(), *_several_lengths(), *_codings(), *_conflicts(), *_good()]
