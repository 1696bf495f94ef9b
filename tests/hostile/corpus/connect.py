"""T8, T10: authorities of CONNECT, and octets sent behind it before it was answered."""

from __future__ import annotations

from tests.hostile.case import Case, either, head, refused, tunnelled

_HOSTS = "T1 T8 T11"
_INNER = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"


def _connect(authority: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return head(b"CONNECT " + authority + b" HTTP/" + version, *fields)


def _authorities() -> list[Case]:
    bad = {
        "no port": b"127.0.0.1",
        "name without port": b"localhost",
        "IPv6 without port": b"[::1]",
        "empty port": b"127.0.0.1:",
        "empty host": b":@P@",
        "only a colon": b":",
        "port 0": b"127.0.0.1:0",
        "port 00000": b"127.0.0.1:00000",
        "port 65536": b"127.0.0.1:65536",
        "port 99999999999": b"127.0.0.1:99999999999",
        "port of a thousand digits": b"127.0.0.1:" + b"9" * 1000,
        "port wraps to 80": b"127.0.0.1:65616",
        "port -1": b"127.0.0.1:-1",
        "port with plus": b"127.0.0.1:+@P@",
        "port in hexadecimal": b"127.0.0.1:0x1bb",
        "port with leading zero": b"127.0.0.1:0@P@",
        "port by name": b"127.0.0.1:http",
        "port with letter": b"127.0.0.1:@P@x",
        "port with underscore": b"127.0.0.1:4_43",
        "port with decimal point": b"127.0.0.1:443.0",
        "port with encoded space": b"127.0.0.1:%20@P@",
        "port in Arabic digits": b"127.0.0.1:\xd9\xa4\xd9\xa4\xd9\xa3",
        "two ports": b"127.0.0.1:@P@:@P@",
        "octal octets": b"0177.0.0.1:@P@",
        "one octal octet": b"127.0.0.01:@P@",
        "octal zeros": b"127.000.000.001:@P@",
        "hexadecimal octets": b"0x7f.0x0.0x0.0x1:@P@",
        "one hexadecimal octet": b"127.0.0.0x1:@P@",
        "hexadecimal number": b"0x7f000001:@P@",
        "hexadecimal number in upper case": b"0X7F000001:@P@",
        "decimal number": b"2130706433:@P@",
        "octal number": b"017700000001:@P@",
        "decimal number beyond 32 bits": b"6425673729:@P@",
        "two parts": b"127.1:@P@",
        "three parts": b"127.0.1:@P@",
        "one part": b"0:@P@",
        "five parts": b"127.0.0.0.1:@P@",
        "octet 256": b"127.0.0.256:@P@",
        "octet 383 wraps": b"383.0.0.1:@P@",
        "empty octet": b"127..0.1:@P@",
        "dot behind a number": b"2130706433.:@P@",
        "two dots behind": b"127.0.0.1..:@P@",
        "encoded octets": b"%31%32%37.0.0.1:@P@",
        "encoded dots": b"127%2e0%2e0%2e1:@P@",
        "encoded colon": b"127.0.0.1%3a@P@",
        "encoded NUL": b"127.0.0.1%00.allowed.example:@P@",
        "NUL": b"127.0.0.1\x00.allowed.example:@P@",
        "zone id": b"[::1%lo]:@P@",
        "zone id encoded": b"[::1%25lo]:@P@",
        "zone id by number": b"[fe80::1%251]:@P@",
        "IPv6 without brackets": b"::1:@P@",
        "IPv6 with one bracket": b"[::1:@P@",
        "IPv6 with other bracket": b"::1]:@P@",
        "IPv6 with two brackets": b"[[::1]]:@P@",
        "IPv6 with five digits": b"[::00001]:@P@",
        "IPv6 of nine groups": b"[0:0:0:0:0:0:0:0:1]:@P@",
        "IPv6 with two gaps": b"[::0::1]:@P@",
        "IPv6 with a space": b"[::1 ]:@P@",
        "IPv6 with bad IPv4": b"[::ffff:127.1]:@P@",
        "IPv6 with octal IPv4": b"[::ffff:0177.0.0.1]:@P@",
        "IPvFuture": b"[v7.127.0.0.1]:@P@",
        "brackets around IPv4": b"[127.0.0.1]:@P@",
        "brackets around a name": b"[localhost]:@P@",
        "empty brackets": b"[]:@P@",
        "junk behind brackets": b"[::1].example:@P@",
        "name ends in a number": b"example.1:@P@",
        "name ends in hexadecimal": b"example.0x7f:@P@",
        "not ASCII": b"\xe4.example:@P@",
        "UTF-8": b"b\xc3\xbccher.example:@P@",
        "fullwidth": b"\xef\xbd\x8cocalhost:@P@",
        "ideographic full stop": b"127\xe3\x80\x820.0.1:@P@",
        "soft hyphen": b"local\xc2\xadhost:@P@",
        "path": b"@O@/",
        "path without slash": b"@O@?x",
        "fragment": b"@O@#x",
        "absolute-form": b"http://@O@/",
        "absolute-form without path": b"http://@O@",
        "https URL": b"https://@O@/",
        "origin-form": b"/",
        "asterisk": b"*",
        "userinfo": b"user@@O@",
        "userinfo with password": b"user:hunter2@@O@",
        "empty userinfo": b"@@O@",
        "backslash": b"@O@\\x",
        "comma list": b"127.0.0.1,127.0.0.2:@P@",
        "semicolon": b"127.0.0.1;x:@P@",
        "exclamation mark": b"local!host:@P@",
        "label of 64": b"a" * 64 + b".example:@P@",
        "name of 254": b"abcdefg." * 31 + b"abcdef:@P@",
        "only dots": b"...:@P@",
        "dot first": b".localhost:@P@",
        "empty label": b"local..host:@P@",
        "CRLF encoded": b"127.0.0.1%0d%0aX:%20y:@P@",
        "template": b"${HOST}:@P@",
    }
    return [
        refused("T8", f"CONNECT {name}", _connect(authority), classes=_HOSTS)
        for name, authority in bad.items()
    ] + [
        either("T8", "CONNECT IPv4 with dot behind, port 1", _connect(b"127.0.0.1.:1"), (400, 502)),
    ]


def _heads() -> list[Case]:
    length, coding = b"Content-Length: 5", b"Transfer-Encoding: chunked"
    conflict = b"CONNECT @O@ HTTP/1.1\r\n@A@Host: evil.example\r\n\r\n"
    return [
        refused("T1", "CONNECT without target", head(b"CONNECT HTTP/1.1"), classes="T1"),
        refused("T1", "CONNECT with two targets", head(b"CONNECT @O@ @O@ HTTP/1.1"), classes="T1"),
        refused("T2", "CONNECT HTTP/2.0", _connect(b"@O@", version=b"2.0"), 505),
        refused("T1", "CONNECT HTTP/0.9", b"CONNECT @O@\r\n", classes="T1 T2"),
        refused("T8", "CONNECT without Host", b"CONNECT @O@ HTTP/1.1\r\n@A@X: y\r\n\r\n"),
        refused("T8", "CONNECT with two Hosts", _connect(b"@O@", b"Host: evil.example")),
        refused("T4", "CONNECT with length and body", _connect(b"@O@", length) + b"hello" + _INNER),
        refused("T4", "CONNECT with chunks", _connect(b"@O@", coding) + b"0\r\n\r\n" + _INNER),
        refused(
            "T4", "CONNECT with both", _connect(b"@O@", length, coding) + b"0\r\n\r\n", classes="T4"
        ),
        refused("T4", "CONNECT with bad length", _connect(b"@O@", b"Content-Length: x") + _INNER),
        refused(
            "T4",
            "CONNECT with unknown coding",
            _connect(b"@O@", b"Transfer-Encoding: gzip"),
            (400, 501),
        ),
        refused("T1", "CONNECT with NUL field", _connect(b"@O@", b"X: \x00") + _INNER),
        refused("T1", "CONNECT with folded field", _connect(b"@O@", b"X: y\r\n z") + _INNER),
        either("T8", "CONNECT with Host of another", conflict, (200, 400)),
        refused("T8", "connect in lower case", head(b"connect @O@ HTTP/1.1"), classes="T1 T8"),
    ]


def _rejected() -> list[Case]:
    """RFC 9931: a rejected CONNECT closes, and nothing behind it is a request."""
    behind = {
        "a request": _INNER,
        "three requests": _INNER * 3,
        "a CONNECT": _connect(b"@O@"),
        "a ClientHello": b"\x16\x03\x01\x00\x05hello",
        "a chunked request": head(
            b"POST http://@O@/smuggled HTTP/1.1", b"Transfer-Encoding: chunked"
        )
        + b"0\r\n\r\n",
    }
    cases: list[Case] = []
    for name, data in behind.items():
        for why, authority, status in (
            ("bad port", b"127.0.0.1:0", 400),
            ("private address", b"10.0.0.1:@P@", 403),
            ("refused connection", b"127.0.0.1:1", 502),
        ):
            for pieces in ((_connect(authority) + data,), (_connect(authority), data)):
                how = "same" if len(pieces) == 1 else "next"
                label = f"{why}, then {name} in the {how} write"
                cases.append(refused("T10", label, pieces, status, classes=""))
    keep = _connect(b"127.0.0.1:1", b"Connection: keep-alive", b"Proxy-Connection: keep-alive")
    cases.append(refused("T10", "asks for keep-alive", keep + _INNER, 502, classes=""))
    return cases


def _good() -> list[Case]:
    payload = b"\x16\x03\x01hello" + bytes(range(256))
    ok = _connect(b"@O@")
    return [
        tunnelled("T10", "nothing behind it", ok),
        tunnelled("T10", "octets behind it in the same write", ok + payload, payload),
        tunnelled("T10", "octets behind it in the next write", (ok, payload), payload),
        tunnelled("T10", "octets in both", (ok + payload, payload), payload * 2),
        tunnelled(
            "T10",
            "a request behind it is payload",
            ok + b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ),
        tunnelled(
            "T10", "garbage behind it is payload", ok + b"\x00\r\n\r\n\xff", b"\x00\r\n\r\n\xff"
        ),
        tunnelled("T10", "a head in its payload", ok + b"X : y\r\n\r\n", b"X : y\r\n\r\n"),
        tunnelled("T10", "HTTP/1.0", _connect(b"@O@", version=b"1.0") + payload, payload),
        tunnelled("T10", "length zero", _connect(b"@O@", b"Content-Length: 0") + payload, payload),
        tunnelled(
            "T10", "Connection: close", _connect(b"@O@", b"Connection: close") + payload, payload
        ),
        tunnelled("T10", "Expect", _connect(b"@O@", b"Expect: 100-continue") + payload, payload),
        tunnelled(
            "T10",
            "Upgrade",
            _connect(b"@O@", b"Connection: upgrade", b"Upgrade: h2c") + payload,
            payload,
        ),
        tunnelled("T8", "localhost", _connect(b"localhost:@P@") + payload, payload),
        tunnelled(
            "T8", "localhost with trailing dot", _connect(b"localhost.:@P@") + payload, payload
        ),
        tunnelled("T8", "localhost in upper case", _connect(b"LOCALHOST:@P@") + payload, payload),
    ]


CASES = [*_authorities(), *_heads(), *_rejected(), *_good()]
