"""T1, T2: heads that are no heads, and protocols that are not HTTP/1."""

from __future__ import annotations

from tests.hostile.case import GET, Case, either, head, passed, refused

_SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"
_NON_HTTP = "T1 T2"


def _lines() -> list[Case]:
    bad = {
        "no version": b"GET http://@O@/",
        "no target": b"GET HTTP/1.1",
        "method only": b"GET",
        "two spaces before target": b"GET  http://@O@/ HTTP/1.1",
        "two spaces before version": b"GET http://@O@/  HTTP/1.1",
        "tab before target": b"GET\thttp://@O@/ HTTP/1.1",
        "tab before version": b"GET http://@O@/\tHTTP/1.1",
        "vertical tab before version": b"GET http://@O@/\x0bHTTP/1.1",
        "form feed before version": b"GET http://@O@/\x0cHTTP/1.1",
        "trailing space": b"GET http://@O@/ HTTP/1.1 ",
        "trailing tab": b"GET http://@O@/ HTTP/1.1\t",
        "leading space": b" GET http://@O@/ HTTP/1.1",
        "leading tab": b"\tGET http://@O@/ HTTP/1.1",
        "space in target": b"GET http://@O@/a b HTTP/1.1",
        "four words": b"GET http://@O@/ x HTTP/1.1",
        "two versions": b"GET http://@O@/ HTTP/1.1 HTTP/1.1",
        "method with colon": b"GE:T http://@O@/ HTTP/1.1",
        "method with slash": b"GE/T http://@O@/ HTTP/1.1",
        "method with bracket": b"GET[ http://@O@/ HTTP/1.1",
        "method quoted": b'"GET" http://@O@/ HTTP/1.1',
        "method with at": b"GET@ http://@O@/ HTTP/1.1",
        "method not ASCII": b"G\xc3\x8bT http://@O@/ HTTP/1.1",
        "empty method": b" http://@O@/ HTTP/1.1",
        "NUL in method": b"G\x00T http://@O@/ HTTP/1.1",
        "NUL in target": b"GET http://@O@/\x00 HTTP/1.1",
        "NUL before target": b"GET \x00http://@O@/ HTTP/1.1",
        "NUL in version": b"GET http://@O@/ HTTP/1.\x001",
        "NUL first": b"\x00GET http://@O@/ HTTP/1.1",
        "DEL in target": b"GET http://@O@/\x7f HTTP/1.1",
        "escape in target": b"GET http://@O@/\x1b[2J HTTP/1.1",
        "backspace in method": b"GEX\x08T http://@O@/ HTTP/1.1",
        "CR in target": b"GET http://@O@/\r HTTP/1.1",
        "CR in the middle of the line": b"GET http://@O@/ HTTP/1.1\rX: y",
        "CR before CRLF": b"GET http://@O@/ HTTP/1.1\r",
        "LF in target": b"GET http://@O@/\n HTTP/1.1",
        "target not ASCII": b"GET http://@O@/\xff HTTP/1.1",
        "target in UTF-8": b"GET http://@O@/\xc3\xa4 HTTP/1.1",
        "byte order mark": b"\xef\xbb\xbfGET http://@O@/ HTTP/1.1",
        "no-break space": b"GET\xa0http://@O@/ HTTP/1.1",
        "version lower case": b"GET http://@O@/ http/1.1",
        "version without slash": b"GET http://@O@/ HTTP 1.1",
        "version without minor": b"GET http://@O@/ HTTP/1",
        "version with empty minor": b"GET http://@O@/ HTTP/1.",
        "version with two digits": b"GET http://@O@/ HTTP/1.10",
        "version with leading zero": b"GET http://@O@/ HTTP/01.1",
        "version with three parts": b"GET http://@O@/ HTTP/1.1.1",
        "version negative": b"GET http://@O@/ HTTP/-1.1",
        "version with comma": b"GET http://@O@/ HTTP/1,1",
        "version in fullwidth digits": b"GET http://@O@/ HTTP/\xef\xbc\x91.1",
        "another protocol name": b"GET http://@O@/ HTTPS/1.1",
        "RTSP": b"OPTIONS rtsp://@O@/ RTSP/1.0",
        "ICY": b"GET http://@O@/ ICY/1.0",
    }
    return [refused("T1", name, head(line), classes="T1 T2 T8") for name, line in bad.items()]


def _fields() -> list[Case]:
    bad = {
        "space before colon": b"X-A : b",
        "tab before colon": b"X-A\t: b",
        "no colon": b"X-A",
        "empty name": b": b",
        "name with space": b"X A: b",
        "name with slash": b"X/A: b",
        "name with brackets": b"X[a]: b",
        "name with quote": b'X"A: b',
        "name with at": b"X@A: b",
        "name with comma": b"X,A: b",
        "name with semicolon": b"X;A: b",
        "name with equals": b"X=A: b",
        "name not ASCII": b"X-\xe4: b",
        "name with NUL": b"X\x00A: b",
        "name with CR": b"X\rA: b",
        "name with DEL": b"X\x7fA: b",
        "name ends in vertical tab": b"X-A\x0b: b",
        "name starts with NUL": b"\x00X: b",
        "value with NUL": b"X-A: b\x00c",
        "value with bare CR": b"X-A: b\rc",
        "value ends in CR": b"X-A: b\r",
        "value starts with CR": b"X-A:\r b",
        "value with BEL": b"X-A: b\x07c",
        "value with escape": b"X-A: b\x1b[31mc",
        "value with vertical tab": b"X-A: b\x0bc",
        "value with form feed": b"X-A: b\x0cc",
        "value with DEL": b"X-A: b\x7fc",
        "value with 0x01": b"X-A: \x01",
        "value with 0x1f": b"X-A: b\x1f",
        "folded with space": b"X-A: b\r\n c",
        "folded with tab": b"X-A: b\r\n\tc",
        "folded empty": b"X-A:\r\n b",
        "folded blank line": b"X-A: b\r\n \r\n c",
        "folded smuggled field": b"X-A: b\r\n Content-Length: 5",
        "bare LF between fields": b"X-A: b\nX-B: c",
        "bare LF smuggled field": b"X-A: b\nContent-Length: 30",
        "LF CR": b"X-A: b\n\rX-B: c",
        "CR LF LF": b"X-A: b\r\n\nX-B: c",
        "CR CR LF": b"X-A: b\r\r\nX-B: c",
        "a second request line": b"GET http://@O@/smuggled HTTP/1.1",
        "only white space": b"   ",
        "only a tab": b"\t",
    }
    return [refused("T1", f"field: {name}", head(GET_LINE, line)) for name, line in bad.items()]


GET_LINE = b"GET http://@O@/ HTTP/1.1"


def _blocks() -> list[Case]:
    return [
        refused("T1", "bare LF everywhere", GET.replace(b"\r\n", b"\n") + b"\n"),
        refused(
            "T1", "bare LF behind the request line", b"GET http://@O@/ HTTP/1.1\nHost: @O@\r\n\r\n"
        ),
        refused("T1", "bare LF before the blank line", GET + b"X: y\n\r\n"),
        refused("T1", "bare LF as blank line", GET + b"X: y\r\n\n"),
        refused("T1", "bare CR as line end", GET.replace(b"\r\n", b"\r") + b"\r"),
        refused("T1", "CR CR LF as blank line", GET + b"\r\r\n"),
        refused(
            "T1", "first field line indented", b"GET http://@O@/ HTTP/1.1\r\n Host: @O@\r\n\r\n"
        ),
        refused(
            "T1",
            "white space line before the fields",
            b"GET http://@O@/ HTTP/1.1\r\n \r\nHost: @O@\r\n\r\n",
        ),
        refused(
            "T1",
            "tab line before the fields",
            b"GET http://@O@/ HTTP/1.1\r\n\t\r\nHost: @O@\r\n\r\n",
        ),
        refused("T1", "white space line first", b" \r\n" + GET + b"\r\n"),
        refused("T1", "bare LF line first", b"\n" + GET + b"\r\n"),
        refused("T1", "bare CR first", b"\r" + GET + b"\r\n"),
        refused("T1", "malformed, then a good request", head(b"GET", b"X: y") + _SMUGGLED),
        refused("T1", "bad field, then a good request", GET + b"X Y: z\r\n\r\n" + _SMUGGLED),
        refused("T1", "NUL field, then a good request", GET + b"X: \x00\r\n\r\n" + _SMUGGLED),
        refused(
            "T1", "good request in another write", (GET + b"X : y\r\n\r\n", _SMUGGLED, _SMUGGLED)
        ),
        passed("T1", "one empty line first", b"\r\n" + GET + b"\r\n"),
        either("T1", "three empty lines first", b"\r\n\r\n\r\n" + GET + b"\r\n"),
        passed("T1", "high octets in a value", GET + b"X-A: \xe4\xff\r\n\r\n", has=(b"\xe4\xff",)),
        passed("T1", "tab inside a value", GET + b"X-A: b\tc\r\n\r\n", has=(b"x-a: b\tc\r\n",)),
        passed("T1", "empty value", GET + b"X-A:\r\n\r\n"),
        passed("T1", "method in lower case", head(b"get http://@O@/ HTTP/1.1"), b"get /"),
        passed(
            "T1",
            "method of odd tokens",
            head(b"!#$%&'*+-.^_`|~ http://@O@/ HTTP/1.1"),
            b"!#$%&'*+-.^_`|~ /",
        ),
    ]


def _versions() -> list[Case]:
    versions = [b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9", b"0.0"]
    return [
        refused("T2", f"HTTP/{v.decode()}", head(b"GET http://@O@/ HTTP/" + v), 505)
        for v in versions
    ]


def _protocols() -> list[Case]:
    proxy_v2 = (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x50\x00\x51"
    )
    hello = (
        b"\x16\x03\x01\x00\x4a\x01\x00\x00\x46\x03\x03" + bytes(range(32)) + b"\x00\x00\x04\x13\x01"
        b"\x00\xff\x01\x00\x00\x19\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost\x00\x2b\x00\x03\x02\x03\x04"
    )
    foreign = {
        "TLS ClientHello": hello,
        "TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "SSLv2 hello": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        "SOCKS4 connect": b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00",
        "SOCKS4a connect": b"\x04\x01\x00\x50\x00\x00\x00\x01\x00localhost\x00",
        "SOCKS5 greeting": b"\x05\x01\x00",
        "SOCKS5 with passwords": b"\x05\x02\x00\x02",
        "PROXY protocol 2": proxy_v2,
        "HTTP/2 frame": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        "RDP": b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00",
    }
    cases = [refused("T2", name, data, classes=_NON_HTTP) for name, data in foreign.items()]
    spoken = {
        "PROXY protocol 1": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + GET + b"\r\n",
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "SMTP": b"EHLO localhost\r\n",
        "FTP": b"USER anonymous\r\n",
        "POP3 with a good line": b"RETR 1\r\n",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
        "memcached": b"get key\r\n",
        "SIP": b"INVITE sip:a@127.0.0.1 SIP/2.0\r\n\r\n",
        "an HTTP response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/0.9 style": b"GET http://@O@/\r\n",
        "HTTP/0.9 and a good request": b"GET http://@O@/\r\n" + GET + b"\r\n",
    }
    cases += [refused("T2", name, data, classes=_NON_HTTP) for name, data in spoken.items()]
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    cases.append(refused("T2", "HTTP/2 preface", preface, (400, 505), classes=_NON_HTTP))
    cases.append(
        refused(
            "T2",
            "HTTP/2 preface and SETTINGS",
            preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            (400, 505),
            classes=_NON_HTTP,
        )
    )
    return cases


CASES = [*_lines(), *_fields(), *_blocks(), *_versions(), *_protocols()]
