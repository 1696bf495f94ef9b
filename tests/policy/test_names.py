"""Lists of names: what a line may be, and what a list covers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsproxy.errors import ClientProtocolError, ConfigError
from wsproxy.policy import names
from wsproxy.policy.names import NameList, parse_names
from wsproxy.protocol.authority import parse_host


def covers(listed: NameList, host: str) -> bool:
    return parse_host(host.encode()) in listed


LIST = (
    b"\xef\xbb\xbf# every kind of line\r\n"
    b"\n"
    b"ads.example\n"
    b"  Tracker.EXAMPLE.com  # with a remark, caf\xc3\xa9\r\n"
    b"xn--bcher-kva.example\r\n"
    b"UPPER.example\n"
    b"dot.example.\n"
    b"_sip.under_score.example\n"
    b"\t \n"
    b"intranet\n"
    b"last.example"
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ads.example", True),
        ("a.b.ads.example", True),
        ("ADS.example.", True),
        ("bads.example", False),
        ("example", False),
        ("ads.example.org", False),
        ("tracker.example.com", True),
        ("www.tracker.example.com", True),
        ("example.com", False),
        ("xn--bcher-kva.example", True),
        ("upper.example", True),
        ("dot.example", True),
        ("x._sip.under_score.example", True),
        ("intranet", True),
        ("host.intranet", True),
        ("last.example", True),
        ("192.0.2.1", False),
        ("[::1]", False),
    ],
)
def test_a_name_covers_itself_and_all_below_it(host: str, expected: bool) -> None:
    assert covers(parse_names(LIST, "list.txt"), host) is expected


def test_a_list_knows_its_names() -> None:
    listed = parse_names(LIST, "list.txt")
    assert len(listed) == 8
    assert sorted(listed) == [
        "_sip.under_score.example", "ads.example", "dot.example", "intranet", "last.example",
        "tracker.example.com", "upper.example", "xn--bcher-kva.example",
    ]  # fmt: skip
    assert "ads" not in repr(listed)


def test_a_name_that_is_listed_twice_does_no_harm() -> None:
    listed = parse_names(b"a.example\nA.example\nb.example\n", "list.txt")
    assert (covers(listed, "a.example"), covers(listed, "b.example")) == (True, True)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"*.ads.example", "'*.ads.example': write the name alone, it covers its subdomains"),
        (b".ads.example", "'.ads.example': write the name alone, it covers its subdomains"),
        (b"0.0.0.0 ads.example", "'0.0.0.0 ads.example': write one name a line and nothing else"),
        (b"192.0.2.1", "'192.0.2.1': addresses and networks stand under 'hosts', not in a list"),
        (b"[::1]", "'[::1]': addresses and networks stand under 'hosts', not in a list"),
        (
            b"10.0.0.0/8",
            "'10.0.0.0/8' is not a host name: host is not a name, an IPv4 or a bracketed"
            " IPv6 address",
        ),
        (
            b"1.2.3",
            "'1.2.3' is not a host name: host ends in a number and is not a dotted-quad"
            " IPv4 address",
        ),
        (
            "bücher.example".encode(),
            "'bücher.example': write it in A-labels (xn--…), as 'xn--bcher-kva.example'",
        ),
        (b"b\xfccher.example", "'b\ufffdcher.example': write it in A-labels (xn--…)"),
        (
            b"https://ads.example/",
            "'https://ads.example/' is not a host name: host is not a name, an IPv4 or a"
            " bracketed IPv6 address",
        ),
        (
            b"-a.example",
            "'-a.example' is not a host name: host is not a name, an IPv4 or a bracketed"
            " IPv6 address",
        ),
        (
            b"a" * 300,
            f"'{'a' * 60}' is not a host name: host name is longer than 253 octets",
        ),
        (
            b"a\x00b.example",
            "'a\\x00b.example' is not a host name: host is not a name, an IPv4 or a bracketed"
            " IPv6 address",
        ),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"", b" # why\n"])
def test_what_is_no_name_is_told_with_its_line(line: bytes, sentence: str, ending: bytes) -> None:
    with pytest.raises(ConfigError) as error:
        parse_names(b"a.example\n# remark\n" + line + ending, "list.txt")
    found = error.value
    assert (found.file, found.line, found.column, found.detail) == ("list.txt", 3, 1, sentence)
    assert str(found).startswith("list.txt:3:1: ")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\r\n", b"\xef\xbb\xbf"])
def test_a_list_without_names_is_an_oversight(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^list\.txt: there are no names in the list$"):
        parse_names(data, "list.txt")


def test_a_list_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_LIST_BYTES", 10)
    assert len(parse_names(b"a.example\n", "list.txt")) == 1
    with pytest.raises(ConfigError, match="larger than"):
        parse_names(b"a.example\n\n", "list.txt")


LABELS = st.text("ab-_0", min_size=1, max_size=3)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@settings(deadline=None)
@given(NAMES)
def test_the_quick_look_takes_nothing_that_the_parser_of_hosts_refuses(name: str) -> None:
    line = name.encode()
    quick = names._PLAIN.fullmatch(line + b"\n") is not None
    try:
        host = parse_host(line)
    except ClientProtocolError:
        host = None
    if host is None or host.address is not None:
        assert not quick
        with pytest.raises(ConfigError):
            parse_names(line, "l")
        return
    assert list(parse_names(line, "l")) == [host.text]


GOOD = st.lists(st.sampled_from(["a", "b", "c", "aa"]), min_size=1, max_size=4).map(".".join)


@settings(deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=60), GOOD)
def test_a_list_covers_what_a_set_would(listed: list[str], host: str) -> None:
    found = parse_names("\n".join(listed).encode(), "l")
    above = {host.split(".", cut)[-1] for cut in range(host.count(".") + 1)}
    assert covers(found, host) is not above.isdisjoint(listed)
    assert sorted(found) == sorted(listed)


def test_a_hundred_thousand_names_are_all_there_and_no_other() -> None:
    listed = parse_names(b"".join(b"n%d.example\n" % n for n in range(100_000)), "l")
    assert len(listed.text) + 4 * len(listed.starts) < 24 * 100_000
    assert all(covers(listed, f"n{n}.example") for n in range(0, 100_000, 97))
    assert not any(covers(listed, f"n{n}.example") for n in range(100_000, 101_000))
