"""curl and the proxy's challenge: right, wrong and missing credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .clients import Credentials, curl
from .observed import ALICE, ObservedProxy
from .origins import Certificates, Nginx
from .wire import start_line

CHALLENGE = b'Basic realm="wsproxy", charset="UTF-8"'


def user_option(credentials: Credentials) -> tuple[str, str]:
    """curl's own option for them."""
    return ("--proxy-user", f"{credentials.user}:{credentials.password}")


def test_the_right_password_opens_the_way_and_stays_with_the_proxy(
    tmp_path: Path, application: int, secured: ObservedProxy
) -> None:
    url = f"http://127.0.0.1:{application}/"
    fetched = curl(tmp_path, secured.url, *user_option(ALICE), url)
    assert fetched.status == 200
    assert "proxy-authorization" not in dict(json.loads(fetched.body)["fields"])
    record = secured.access(client=fetched.client)
    assert (record["user"], record["status"]) == ("alice", 200)


def test_the_right_password_opens_a_tunnel(
    tmp_path: Path, certificates: Certificates, nginx: Nginx, secured: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        secured.url,
        *(*user_option(ALICE), "--cacert", str(certificates.authority)),
        f"{nginx.https}/file.txt",
    )
    assert (fetched.connect_status, fetched.body) == (200, b"a small file\n")
    assert secured.opened(client=fetched.client)["user"] == "alice"
    assert secured.access(client=fetched.client)["user"] == "alice"


@pytest.mark.parametrize("given", ["wrong", "none"])
def test_a_request_without_the_right_password_is_challenged(
    given: str,
    tmp_path: Path,
    nginx: Nginx,
    secured: ObservedProxy,
    wrong_password: Credentials,
) -> None:
    option = user_option(wrong_password) if given == "wrong" else ()
    fetched = curl(tmp_path, secured.url, *option, f"{nginx.http}/file.txt")
    assert (fetched.exit_code, fetched.status) == (0, 407)
    assert fetched.fields[b"proxy-authenticate"] == CHALLENGE
    assert int(fetched.fields[b"content-length"]) == len(fetched.body)
    record = secured.access(client=fetched.client)
    assert (record["kind"], record["status"], record["user"]) == ("forward", 407, None)
    assert (record["address"], record["reason"]) == (None, "refused")


@pytest.mark.parametrize("given", ["wrong", "none"])
def test_a_tunnel_without_the_right_password_is_challenged_and_closed(
    given: str,
    tmp_path: Path,
    nginx: Nginx,
    secured: ObservedProxy,
    wrong_password: Credentials,
) -> None:
    option = user_option(wrong_password) if given == "wrong" else ()
    fetched = curl(tmp_path, secured.url, *option, f"{nginx.https}/file.txt")
    assert (fetched.exit_code, fetched.connect_status) == (56, 407)
    assert fetched.fields[b"proxy-authenticate"] == CHALLENGE
    assert fetched.fields[b"connection"].lower() == b"close"
    record = secured.access(client=fetched.client)
    assert (record["kind"], record["status"], record["user"]) == ("connect", 407, None)
    assert (record["closed_by"], record["reason"]) == ("proxy", "refused")
    assert secured.matching("open", client=fetched.client) == []


def test_anyauth_learns_the_scheme_from_the_challenge_on_the_same_connection(
    tmp_path: Path, nginx: Nginx, secured: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path, secured.url, *user_option(ALICE), "--proxy-anyauth", f"{nginx.http}/file.txt"
    )
    assert [start_line(head)[9:12] for head in fetched.heads] == [b"407", b"200"]
    assert fetched.connections == 1
    first = secured.access(client=fetched.client, status=407)
    second = secured.access(client=fetched.client, status=200)
    assert (first["user"], second["user"]) == (None, "alice")


def test_anyauth_sends_an_upload_again_after_the_challenge(
    tmp_path: Path, application: int, secured: ObservedProxy
) -> None:
    upload = tmp_path / "upload.bin"
    upload.write_bytes(b"x" * 300_000)
    fetched = curl(
        tmp_path,
        secured.url,
        *(*user_option(ALICE), "--proxy-anyauth", "--header", "Expect:"),
        *("--upload-file", str(upload), f"http://127.0.0.1:{application}/"),
    )
    assert fetched.status == 200
    assert json.loads(fetched.body)["length"] == 300_000
    assert secured.access(status=200, method="PUT")["bytes_up"] == 300_000


def test_anyauth_opens_a_tunnel_on_a_second_connection(
    tmp_path: Path, certificates: Certificates, nginx: Nginx, secured: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        secured.url,
        *(*user_option(ALICE), "--proxy-anyauth", "--cacert", str(certificates.authority)),
        f"{nginx.https}/file.txt",
    )
    assert (fetched.connect_status, fetched.body) == (200, b"a small file\n")
    assert [start_line(head)[9:12] for head in fetched.heads] == [b"407", b"200", b"200"]
    assert secured.access(kind="connect", status=407)["client"] != fetched.client
    assert secured.access(kind="connect", status=200)["client"] == fetched.client
