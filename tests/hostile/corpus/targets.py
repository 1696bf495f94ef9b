"""T8, T13: request-targets, Host, schemes, and the proxy as its own target."""

from __future__ import annotations

from tests.hostile.case import GET, Case, either, head, passed, refused

_HOSTS = "T1 T8 T11"


def _get(target: bytes, *fields: bytes, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return head(method + b" " + target + b" HTTP/" + version, *fields)


def _schemes() -> list[Case]:
    schemes = (
        b"https wss ftp ftps file gopher javascript data ldap dict mailto sftp ssh telnet tcp unix urn view-source"
        b" cache_object whois h2c httpx http+unix ws+unix about blob jar"
    )
    cases = [
        refused("T8", f"scheme {scheme.decode()}", _get(scheme + b"://@O@/"))
        for scheme in schemes.split()
    ]
    odd = {
        "scheme-less authority": b"@O@/",
        "scheme without slashes": b"http:@O@/",
        "one slash": b"http:/@O@/",
        "three slashes": b"http:///@O@/",
        "four slashes": b"http:////@O@/",
        "backslashes for slashes": b"http:\\\\@O@\\",
        "slash and backslash": b"http:/\\@O@/",
        "no colon": b"http//@O@/",
        "empty scheme": b"://@O@/",
        "scheme starts with a digit": b"1http://@O@/",
        "scheme with a space encoded": b"ht%74p://@O@/",
        "scheme in brackets": b"[http]://@O@/",
        "javascript": b"javascript:alert(1)",
        "data": b"data:text/html,smuggled",
        "mailto": b"mailto:a@127.0.0.1",
        "about": b"about:blank",
        "urn": b"urn:uuid:1",
        "query only": b"?x",
        "fragment only": b"#x",
        "relative path": b"x/y",
        "dot": b".",
        "asterisk": b"*",
        "backslash path": b"\\x",
        "UNC path": b"\\\\127.0.0.1\\share",
        "authority-form in GET": b"127.0.0.1:@P@",
    }
    return cases + [refused("T8", f"target: {name}", _get(t)) for name, t in odd.items()]


def _authorities() -> list[Case]:
    bad = {
        "empty host": b"http:///",
        "empty host with port": b"http://:@P@/",
        "userinfo": b"http://user@@O@/",
        "userinfo with password": b"http://user:hunter2@@O@/",
        "empty userinfo": b"http://@@O@/",
        "two at signs": b"http://127.0.0.1@evil.example@@O@/",
        "userinfo as disguise": b"http://allowed.example:80@@O@/",
        "encoded at sign": b"http://allowed.example%40@O@/",
        "fragment": b"http://@O@/#x",
        "fragment without path": b"http://@O@#x",
        "fragment as disguise": b"http://@O@#@allowed.example/",
        "fragment in the query": b"http://@O@/?a#b",
        "backslash in the authority": b"http://@O@\\@allowed.example/",
        "backslash in the path": b"http://@O@/a\\b",
        "backslash for the path": b"http://@O@\\a",
        "encoded slash in the host": b"http://127.0.0.1%2f:@P@/",
        "encoded host": b"http://%31%32%37.0.0.1:@P@/",
        "encoded dot": b"http://127%2e0%2e0%2e1:@P@/",
        "encoded NUL": b"http://127.0.0.1%00:@P@/",
        "encoded CRLF": b"http://127.0.0.1%0d%0a:@P@/",
        "comma in the host": b"http://127.0.0.1,evil.example:@P@/",
        "semicolon in the host": b"http://127.0.0.1;x:@P@/",
        "bracket in the host": b"http://127.0.0.1]:@P@/",
        "brackets around IPv4": b"http://[127.0.0.1]:@P@/",
        "IPv6 without brackets": b"http://::1:@P@/",
        "IPv6 with zone": b"http://[::1%25lo]:@P@/",
        "IPv6 with raw zone": b"http://[::1%lo]:@P@/",
        "IPvFuture": b"http://[v1.127.0.0.1]:@P@/",
        "IPv6 unclosed": b"http://[::1:@P@/",
        "IPv6 with junk behind": b"http://[::1]x:@P@/",
        "two ports": b"http://127.0.0.1:@P@:@P@/",
        "two dots behind": b"http://localhost..:@P@/",
        "dot first": b"http://.localhost:@P@/",
        "only a dot": b"http://.:@P@/",
        "empty label": b"http://local..host:@P@/",
        "label of 64": b"http://" + b"a" * 64 + b".example:@P@/",
        "name of 254": b"http://" + b"abcdefg." * 31 + b"abcdef:@P@/",
        "not ASCII": b"http://\xe4.example:@P@/",
        "fullwidth digits": b"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:@P@/",
        "ideographic full stop": b"http://127\xe3\x80\x820\xe3\x80\x820\xe3\x80\x821:@P@/",
        "circled digits": b"http://\xe2\x91\xa0.0.0.1:@P@/",
        "asterisk": b"http://*:@P@/",
        "exclamation mark": b"http://local!host:@P@/",
        "dollar": b"http://$HOME:@P@/",
        "angle brackets": b"http://<localhost>:@P@/",
        "quote": b'http://"localhost":@P@/',
        "tilde": b"http://~:@P@/",
        "plus": b"http://a+b:@P@/",
        "hyphen first": b"http://-localhost:@P@/",
    }
    ports = {
        "zero": b":0",
        "zeros": b":00000",
        "65536": b":65536",
        "99999": b":99999",
        "99999999999": b":99999999999",
        "wraps to the origin's": b":4294967376",
        "negative": b":-1",
        "plus sign": b":+80",
        "hexadecimal": b":0x50",
        "letters": b":http",
        "fullwidth digits": b":\xef\xbc\x98\xef\xbc\x90",
        "leading zero": b":0@P@",
        "underscore": b":8_0",
        "decimal point": b":80.0",
        "a space encoded": b":%20@P@",
        "comma": b":@P@,80",
        "semicolon": b":@P@;x",
    }
    cases = [
        refused("T8", f"authority: {name}", _get(t), classes=_HOSTS) for name, t in bad.items()
    ]
    return cases + [
        refused("T8", f"port: {name}", _get(b"http://127.0.0.1" + port + b"/"), classes=_HOSTS)
        for name, port in ports.items()
    ]


def _paths() -> list[Case]:
    bad = {
        "less than": b"/<x",
        "control octet": b"/\x01",
        "high octet": b"/\xff",
    }
    kept = {
        "encoded CRLF": b"/%0d%0aX-Smuggled:%20y",
        "encoded NUL": b"/%00",
        "dot segments": b"/a/../../b/./c",
        "encoded dot segments": b"/%2e%2e/%2E%2E/etc/passwd",
        "many slashes": b"//a//b///c",
        "encoded slash": b"/a%2Fb",
        "bad percent triplets": b"/%zz/%",
        "a URL as path": b"/http://evil.example/",
        "a URL as query": b"/?u=http://user:pw@evil.example/",
        "query with everything": b"/?a=b&c=d;e=f/g?h:i@j!k$l'm(n)o*p,q",
        "raw brackets": b"/?a[]=1&b={c}|d",
        "colon segments": b"/a:b;c=d",
    }
    cases = [
        refused("T8", f"path: {name}", _get(b"http://@O@" + p), classes="T1 T8")
        for name, p in bad.items()
    ]
    cases += [
        passed("T8", f"path: {name}", _get(b"http://@O@" + p), b"GET " + p)
        for name, p in kept.items()
    ]
    return cases + [
        passed("T8", "empty path", _get(b"http://@O@"), b"GET /"),
        passed("T8", "empty path with query", _get(b"http://@O@?x=y"), b"GET /?x=y"),
        passed("T8", "empty query", _get(b"http://@O@/?"), b"GET /?"),
        passed("T8", "scheme in upper case", _get(b"HTTP://@O@/"), b"GET /"),
        passed("T8", "scheme in odd case", _get(b"hTtP://@O@/x"), b"GET /x"),
        passed("T8", "OPTIONS without path", _get(b"http://@O@", method=b"OPTIONS"), b"OPTIONS *"),
        passed("T8", "OPTIONS with path", _get(b"http://@O@/", method=b"OPTIONS"), b"OPTIONS /"),
        passed(
            "T8", "OPTIONS with query", _get(b"http://@O@?x", method=b"OPTIONS"), b"OPTIONS /?x"
        ),
    ]


def _host_fields() -> list[Case]:
    line = b"GET http://@O@/ HTTP/1.1\r\n@A@"
    bad = {
        "path": b"a/b",
        "at and comma": b"a/b@c, d",
        "userinfo": b"user@127.0.0.1",
        "two hosts": b"127.0.0.1, evil.example",
        "two hosts by space": b"127.0.0.1 evil.example",
        "scheme": b"http://127.0.0.1",
        "port of letters": b"127.0.0.1:http",
        "port 65536": b"127.0.0.1:65536",
        "backslash": b"127.0.0.1\\x",
        "quote": b'"127.0.0.1"',
        "not ASCII": b"\xe4.example",
        "percent": b"127.0.0.1%00",
        "fragment": b"127.0.0.1#x",
        "query": b"127.0.0.1?x",
        "unclosed bracket": b"[::1",
        "only a comma": b",",
        "markup": b"<script>alert(1)</script>",
    }
    cases = [
        refused("T8", f"Host: {name}", line + b"Host: " + value + b"\r\n\r\n", classes=_HOSTS)
        for name, value in bad.items()
    ]
    good = (b"Host: @O@\r\n", b"Host: evil.example\r\n")
    cases += [
        refused("T8", "no Host", line + b"X: y\r\n\r\n"),
        refused("T8", "two Hosts alike", line + good[0] * 2 + b"\r\n"),
        refused("T8", "two Hosts unlike", line + good[0] + good[1] + b"\r\n"),
        refused("T8", "two Hosts, one empty", line + b"Host:\r\n" + good[0] + b"\r\n"),
        refused("T8", "two Hosts in odd case", line + good[0] + b"hOST: evil.example\r\n\r\n"),
        refused("T8", "two Hosts far apart", line + good[0] + b"X: y\r\n" * 50 + good[1] + b"\r\n"),
        refused(
            "T8", "Host with space before colon", line + b"Host : @O@\r\n\r\n", classes="T1 T8"
        ),
        refused("T8", "Host folded", line + b"Host:\r\n @O@\r\n\r\n", classes="T1 T8"),
    ]
    lacks = (b"evil",)
    cases += [
        passed("T8", "Host of another", line + good[1] + b"\r\n", lacks=lacks),
        passed("T8", "Host of another port", line + b"Host: 127.0.0.1:1\r\n\r\n"),
        passed("T8", "Host in odd case", line + b"hOsT: evil.example\r\n\r\n", lacks=lacks),
        passed("T8", "HTTP/1.0 without Host", b"GET http://@O@/ HTTP/1.0\r\n@A@\r\n"),
        passed(
            "T8",
            "HTTP/1.0 with Host of another",
            b"GET http://@O@/ HTTP/1.0\r\n@A@" + good[1] + b"\r\n",
            lacks=lacks,
        ),
        either("T8", "Host empty", line + b"Host:\r\n\r\n"),
        either("T8", "X-Forwarded-Host", GET + b"X-Forwarded-Host: evil.example\r\n\r\n"),
    ]
    return cases


def _own() -> list[Case]:
    own = {
        "absolute-form": _get(b"http://@S@/"),
        "localhost": _get(b"http://localhost:@SP@/"),
        "trailing dot": _get(b"http://localhost.:@SP@/"),
        "upper case": _get(b"http://LOCALHOST:@SP@/"),
        "CONNECT": head(b"CONNECT @S@ HTTP/1.1"),
        "CONNECT localhost": head(b"CONNECT localhost:@SP@ HTTP/1.1"),
        "IPv4-mapped": _get(b"http://[::ffff:127.0.0.1]:@SP@/"),
        "IPv4-mapped in hexadecimal": head(b"CONNECT [::ffff:7f00:1]:@SP@ HTTP/1.1"),
    }
    cases = [
        refused("T13", f"self by {name}", data, (403, 508), classes="", closes="CONNECT" in name)
        for name, data in own.items()
    ]
    page = (
        b"/",
        b"/etc/passwd",
        b"/../../etc/passwd",
        b"//@O@/",
        b"/?u=http://@O@/",
        b"/@@O@/",
        b"/proxy.pac",
    )
    return cases + [
        refused(
            "T13",
            f"own page {path.decode()}",
            _get(path),
            (200, 400, 404),
            classes="",
            closes=False,
        )
        for path in page
    ]


CASES = [*_schemes(), *_authorities(), *_paths(), *_host_fields(), *_own()]
