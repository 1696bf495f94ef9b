"""The pages: what they say, in HTML, JSON and Proxy-Status, whatever somebody put in."""

from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import (
    AuthRequired,
    ClientProtocolError,
    Denied,
    LimitReached,
    ResolveFailed,
)
from wsproxy.model import Body, BodyKind, Headers, Host, ProxyRequest, RequestKind, Target
from wsproxy.proxy.pages import Page, help_page, reason_phrase, refusal, status_page


def request(*headers: tuple[bytes, bytes]) -> ProxyRequest:
    fields: Headers = headers
    target = Target("http", Host("wsproxy"), 80, b"/")
    return ProxyRequest(
        RequestKind.OWN, "GET", target, "1.1", fields, Body(BodyKind.NONE), keep_alive=True
    )


def refuse(error: Exception, *headers: tuple[bytes, bytes]) -> Page:
    challenges = [b'Basic realm="a"', b"Digest x"]
    return refusal(error, session="0123", request=request(*headers), challenges=challenges)


def field(page: Page, name: bytes) -> list[bytes]:
    return [value for key, value in page.headers if key.lower() == name]


JSON = (b"Accept", b"application/json")
DENIED = Denied("rule 'r<1>' denies", rule="r<1>", message='Ask "IT" <script>alert(1)</script>')


def test_a_refusal_in_json_has_every_fact() -> None:
    page = refuse(DENIED, JSON)
    assert (page.status, field(page, b"content-type")) == (403, [b"application/json"])
    assert json.loads(page.body) == {
        "status": 403,
        "error": "http_request_denied",
        "detail": "rule 'r<1>' denies",
        "id": "0123",
        "rule": "r<1>",
        "message": 'Ask "IT" <script>alert(1)</script>',
    }


def test_a_refusal_in_html_escapes_what_people_wrote() -> None:
    text = refuse(DENIED).body.decode()
    assert "<script>" not in text
    assert "Ask &quot;IT&quot; &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<code>r&lt;1&gt;</code>" in text
    assert "<code>0123</code>" in text
    assert "<h1>403 Forbidden</h1>" in text


def test_a_name_that_does_not_resolve_says_what_dns_said() -> None:
    """RFC 9209 §2.3.2."""
    page = refuse(ResolveFailed("no address for x.test: NXDOMAIN", rcode="NXDOMAIN"))
    assert page.status == 502
    assert field(page, b"proxy-status") == [
        b'wsproxy; error=dns_error; details="no address for x.test: NXDOMAIN"; '
        b'rcode="NXDOMAIN"; id="0123"'
    ]
    (unknown,) = field(refuse(ResolveFailed("no address for x.test")), b"proxy-status")
    assert b"rcode" not in unknown


def test_a_refusal_without_rule_and_message_leaves_them_out() -> None:
    page = refuse(ResolveFailed("no address for x.test"), JSON)
    assert json.loads(page.body).keys() == {"status", "error", "detail", "id"}
    assert b"Rule" not in refuse(ResolveFailed("no address for x.test")).body


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ([], b"text/html"),
        ([b"*/*"], b"text/html"),
        ([b"application/json"], b"application/json"),
        ([b"application/problem+json"], b"application/json"),
        ([b"Application/JSON;q=0.9", b"text/plain"], b"application/json"),
        ([b"text/html,application/json"], b"text/html"),
    ],
)
def test_json_is_for_those_who_ask_for_it_and_not_for_html(
    accept: list[bytes], kind: bytes
) -> None:
    page = refuse(ResolveFailed("x"), *((b"accept", value) for value in accept))
    assert field(page, b"content-type")[0].split(b";")[0] == kind


def test_a_request_that_could_not_be_read_gets_html() -> None:
    error = ClientProtocolError("malformed request line", status=414)
    page = refusal(error, session="1", request=None, challenges=[])
    assert (page.status, field(page, b"content-type")) == (414, [b"text/html; charset=utf-8"])


def test_only_a_407_has_challenges_and_each_in_a_field_of_its_own() -> None:
    assert field(refuse(AuthRequired("who?")), b"proxy-authenticate") == [
        b'Basic realm="a"',
        b"Digest x",
    ]
    assert field(refuse(DENIED), b"proxy-authenticate") == []


def test_only_a_limit_says_when_to_come_back() -> None:
    limit = refuse(LimitReached("full", status=503, retry_after_s=7))
    assert (limit.status, field(limit, b"retry-after")) == (503, [b"7"])
    assert field(refuse(DENIED), b"retry-after") == []


def test_a_bug_says_nothing_about_itself() -> None:
    page = refuse(ZeroDivisionError("secret"), JSON)
    assert (page.status, json.loads(page.body)["detail"]) == (500, "an internal error")
    assert b"secret" not in page.body + field(page, b"proxy-status")[0]


def test_proxy_status_names_token_detail_rule_and_id() -> None:
    assert field(refuse(DENIED), b"proxy-status") == [
        b"wsproxy; error=http_request_denied; details=\"rule 'r<1>' denies\"; "
        b'rule="r<1>"; id="0123"'
    ]


_STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'  # RFC 8941 §3.3.3
_STATUS = re.compile(
    rb"wsproxy; error=[a-z_]+; details=" + _STRING + rb"(?:; rule=" + _STRING + rb')?; id="0123"'
)


@given(detail=st.text(), rule=st.text())
def test_proxy_status_is_a_structured_field_whatever_is_in_it(detail: str, rule: str) -> None:
    (status,) = field(refuse(Denied(detail, rule=rule)), b"proxy-status")
    assert _STATUS.fullmatch(status)


@given(detail=st.text(), message=st.text(min_size=1))
def test_html_shows_text_and_never_becomes_markup(detail: str, message: str) -> None:
    text = refuse(Denied(detail, rule="r", message=message)).body.decode("utf-8", "surrogatepass")
    shown = re.findall(r"<p>(?:<strong>)?([^<]*)(?:</strong>)?</p>", text)
    assert [html.unescape(part) for part in shown[:2]] == [
        html.unescape(html.escape(message)),
        html.unescape(html.escape(detail)),
    ]


@pytest.mark.parametrize(
    "page", [refuse(DENIED), refuse(DENIED, JSON), help_page(request()), status_page(200, "ok")]
)
def test_no_page_is_stored_sniffed_or_scripted(page: Page) -> None:
    assert field(page, b"cache-control") == [b"no-store"]
    assert field(page, b"x-content-type-options") == [b"nosniff"]
    assert field(page, b"content-security-policy") == [
        b"default-src 'none'; style-src 'unsafe-inline'"
    ]


def test_the_help_page_names_the_proxy_as_the_client_does() -> None:
    text = help_page(request((b"Host", b"proxy.test:3128"))).body.decode()
    assert "curl --proxy http://proxy.test:3128 https://example.com/" in text
    assert "http://127.0.0.1:8080 " in help_page(request()).body.decode()


def test_the_help_page_of_an_https_proxy_leaves_out_who_cannot_use_one() -> None:
    text = help_page(
        request((b"Host", b"proxy.test:8443")), lambda url: f"see {url}", scheme="https"
    ).body.decode()
    assert "curl --proxy https://proxy.test:8443 " in text
    assert "https://proxy.test:8443/proxy.pac" in text
    assert text.endswith("see https://proxy.test:8443</html>\n")
    assert "http://" not in text
    assert [client in text for client in ("netsh", "networksetup", "<dt>Java")] == [False] * 3
    plain = help_page(request()).body.decode()
    assert [client in plain for client in ("netsh", "networksetup", "<dt>Java")] == [True] * 3


def test_the_help_page_escapes_the_name_it_is_called_by() -> None:
    text = help_page(request((b"Host", b"\"'><script>\xff"))).body.decode()
    assert "<script>" not in text
    assert "&quot;&#x27;&gt;&lt;script&gt;ÿ" in text


def test_a_status_page_is_plain_text_with_its_fields() -> None:
    page = status_page(405, "no", [(b"Allow", b"GET")])
    assert (page.status, page.body, field(page, b"allow")) == (405, b"no\n", [b"GET"])
    assert field(page, b"content-type") == [b"text/plain; charset=utf-8"]


@pytest.mark.parametrize(
    ("status", "phrase"), [(404, b"Not Found"), (599, b""), (418, b"I'm a Teapot")]
)
def test_a_reason_phrase_is_the_registered_one_or_none(status: int, phrase: bytes) -> None:
    assert reason_phrase(status) == phrase
