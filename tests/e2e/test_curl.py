"""curl through the proxy: plain HTTP in every form curl has, and tunnels."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest

from .clients import Fetched, curl, curl_each
from .observed import ObservedProxy
from .origins import LARGE_BYTES, Certificates, Nginx
from .wire import start_line

UPLOAD = bytes(range(256)) * 32 * 1024  # 8 MiB


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A file of 8 MiB."""
    file = tmp_path / "upload.bin"
    file.write_bytes(UPLOAD)
    return file


def described(fetched: Fetched) -> dict[str, str]:
    """Fields that reached the application, after checking that it got all of the upload."""
    assert fetched.status == 200
    told = json.loads(fetched.body)
    assert told["length"] == len(UPLOAD)
    assert told["sha256"] == hashlib.sha256(UPLOAD).hexdigest()
    return dict(told["fields"])


def test_get_brings_the_file_and_one_record(
    tmp_path: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, f"{nginx.http}/file.txt?token=secret")
    assert (fetched.status, fetched.body) == (200, b"a small file\n")
    assert fetched.fields[b"content-length"] == b"13"
    assert fetched.fields[b"via"].startswith(b"1.1 ")
    record = proxy.access(client=fetched.client)
    assert record["kind"] == "forward"
    assert record["method"] == "GET"
    assert record["target"] == f"{nginx.http}/file.txt?…"
    assert record["address"] == f"127.0.0.1:{nginx.port}"
    assert (record["status"], record["error"], record["user"]) == (200, None, None)
    assert (record["verdict"], record["rule"]) == ("allow", "default")
    assert (record["bytes_up"], record["bytes_down"]) == (0, 13)


def test_head_has_the_length_and_no_body(
    tmp_path: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "--head", f"{nginx.http}/large.bin")
    assert (fetched.exit_code, fetched.status) == (0, 200)
    assert fetched.fields[b"content-length"] == str(LARGE_BYTES).encode()
    record = proxy.access(client=fetched.client)
    assert (record["method"], record["bytes_down"]) == ("HEAD", 0)


def test_a_large_post_arrives_whole(
    tmp_path: Path, upload: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "--data-binary", f"@{upload}", f"{nginx.http}/application/")
    described(fetched)
    record = proxy.access(client=fetched.client)
    assert (record["method"], record["bytes_up"]) == ("POST", len(UPLOAD))
    assert record["bytes_down"] == len(fetched.body)


def test_put_waits_for_the_origins_100_continue(
    tmp_path: Path, upload: Path, application: int, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--expect100-timeout", "30", "--header", "Expect: 100-continue"),
        *("--upload-file", str(upload), f"http://127.0.0.1:{application}/"),
    )
    described(fetched)
    assert [start_line(head)[:12] for head in fetched.heads] == [b"HTTP/1.1 100", b"HTTP/1.1 200"]
    assert proxy.access(client=fetched.client)["bytes_up"] == len(UPLOAD)


def test_a_chunked_upload_arrives_whole_and_chunked(
    tmp_path: Path, upload: Path, application: int, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{upload}"),
        f"http://127.0.0.1:{application}/",
    )
    arrived = described(fetched)
    assert arrived["transfer-encoding"] == "chunked"
    assert "content-length" not in arrived
    assert proxy.access(client=fetched.client)["bytes_up"] == len(UPLOAD)


def test_a_chunked_answer_arrives_whole(
    tmp_path: Path, application: int, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, f"http://127.0.0.1:{application}/chunked")
    assert fetched.body == b"one, two, three"
    assert fetched.fields[b"transfer-encoding"] == b"chunked"
    assert proxy.access(client=fetched.client)["bytes_down"] == len(fetched.body)


def test_a_chunked_answer_reaches_http_1_0_without_chunks(
    tmp_path: Path, application: int, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "--http1.0", f"http://127.0.0.1:{application}/chunked")
    assert (fetched.exit_code, fetched.status) == (0, 200)
    assert fetched.body == b"one, two, three"
    assert b"transfer-encoding" not in fetched.fields
    assert fetched.fields[b"connection"].lower() == b"close"


def test_a_range_of_the_large_file(tmp_path: Path, nginx: Nginx, proxy: ObservedProxy) -> None:
    fetched = curl(tmp_path, proxy.url, "--range", "40000000-40099999", f"{nginx.http}/large.bin")
    assert fetched.status == 206
    assert fetched.fields[b"content-range"] == f"bytes 40000000-40099999/{LARGE_BYTES}".encode()
    assert fetched.body == nginx.large_slice(40_000_000, 40_099_999)
    assert proxy.access(client=fetched.client)["bytes_down"] == 100_000


def test_64_mib_arrive_intact(tmp_path: Path, nginx: Nginx, proxy: ObservedProxy) -> None:
    fetched = curl(tmp_path, proxy.url, f"{nginx.http}/large.bin")
    assert fetched.status == 200
    assert fetched.body == (nginx.root / "large.bin").read_bytes()
    assert proxy.access(client=fetched.client)["bytes_down"] == LARGE_BYTES


def test_a_connection_is_used_again_on_both_sides(
    tmp_path: Path, application: int, proxy: ObservedProxy
) -> None:
    url = f"http://127.0.0.1:{application}/"
    results = curl_each(tmp_path, proxy.url, url, url, url)
    assert [one.connections for one in results] == [1, 0, 0]
    told = [json.loads(part + b"}") for part in results[-1].body.split(b"}") if part]
    assert len({one["peer"] for one in told}) == 1


def test_a_204_and_a_304_end_without_a_body_and_the_connection_goes_on(
    tmp_path: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    results = curl_each(
        tmp_path,
        proxy.url,
        *("--header", "If-Modified-Since: Tue, 01 Jan 2030 00:00:00 GMT"),
        f"{nginx.http}/file.txt",
        f"{nginx.http}/nothing",
        f"{nginx.http}/application/",
    )
    assert [one.status for one in results] == [304, 204, 200]
    assert [one.connections for one in results] == [1, 0, 0]


def test_an_answer_in_mid_upload_reaches_the_client(
    tmp_path: Path, upload: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--header", "Expect:", "--data-binary", f"@{upload}", f"{nginx.http}/small-uploads/"),
    )
    assert (fetched.status, start_line(fetched.heads[-1])[:12]) == (413, b"HTTP/1.1 413")
    assert fetched.body.endswith(b"</html>\r\n")
    record = proxy.access(client=fetched.client)
    # A client that stops uploading once it has its answer does nothing wrong.
    assert (record["status"], record["error"]) == (413, None), record
    assert record["bytes_up"] <= len(UPLOAD)


def test_delete_and_options_keep_their_method(
    tmp_path: Path, application: int, proxy: ObservedProxy
) -> None:
    for method in ("DELETE", "OPTIONS"):
        fetched = curl(
            tmp_path, proxy.url, "--request", method, f"http://127.0.0.1:{application}/thing?a=b"
        )
        told = json.loads(fetched.body)
        assert (told["method"], told["path"]) == (method, "/thing?a=b")
        assert proxy.access(client=fetched.client)["method"] == method


def test_only_end_to_end_fields_reach_the_origin(
    tmp_path: Path, application: int, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--header", "Proxy-Connection: keep-alive", "--header", "X-Kept: yes"),
        *("--header", "Connection: X-Named", "--header", "X-Named: gone"),
        *("--user-agent", "tester", f"http://127.0.0.1:{application}/"),
    )
    arrived = dict(json.loads(fetched.body)["fields"])
    assert arrived.pop("via").startswith("1.1 ")
    arrived.pop("connection", None)
    assert arrived == {
        "host": f"127.0.0.1:{application}",
        "user-agent": "tester",
        "accept": "*/*",
        "x-kept": "yes",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_https_goes_through_a_tunnel(
    host: str, tmp_path: Path, certificates: Certificates, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--cacert", str(certificates.authority), f"https://{host}:{nginx.tls_port}/file.txt"),
    )
    assert (fetched.connect_status, fetched.status) == (200, 200)
    assert fetched.heads[0] == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert fetched.body == b"a small file\n"
    opened = proxy.opened(client=fetched.client)
    record = proxy.access(client=fetched.client)
    assert opened["id"] == record["id"]
    assert (record["kind"], record["method"]) == ("connect", "CONNECT")
    assert record["target"] == f"{host}:{nginx.tls_port}"
    assert record["address"] in (f"127.0.0.1:{nginx.tls_port}", f"[::1]:{nginx.tls_port}")
    # With TLS inside, client and origin close at the same moment.
    assert record["closed_by"] in ("client", "upstream")
    assert (record["status"], record["reason"]) == (200, "eof")
    assert record["bytes_up"] > 0
    assert record["bytes_down"] > len(fetched.body)


def test_64_mib_through_a_tunnel_arrive_intact(
    tmp_path: Path, certificates: Certificates, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(
        tmp_path,
        proxy.url,
        *("--cacert", str(certificates.authority), f"{nginx.https}/large.bin"),
    )
    assert fetched.body == (nginx.root / "large.bin").read_bytes()
    assert proxy.access(client=fetched.client)["bytes_down"] > LARGE_BYTES


def test_plain_http_through_a_tunnel(tmp_path: Path, nginx: Nginx, proxy: ObservedProxy) -> None:
    fetched = curl(tmp_path, proxy.url, "--proxytunnel", f"{nginx.http}/file.txt")
    assert (fetched.connect_status, fetched.body) == (200, b"a small file\n")
    assert b"via" not in fetched.fields
    assert proxy.access(client=fetched.client)["target"] == f"127.0.0.1:{nginx.port}"


def test_an_http_1_0_client_opens_a_tunnel(
    tmp_path: Path, nginx: Nginx, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "--proxy1.0", proxy.url, "-p", f"{nginx.http}/file.txt")
    assert (fetched.connect_status, fetched.body) == (200, b"a small file\n")
    assert fetched.heads[0] == b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize("way", ["forward", "connect"])
def test_a_closed_port_is_a_bad_gateway(way: str, tmp_path: Path, proxy: ObservedProxy) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and never listening: nobody else gets this port
        port = bound.getsockname()[1]
        tunnel = ["--proxytunnel"] if way == "connect" else []
        fetched = curl(tmp_path, proxy.url, *tunnel, f"http://127.0.0.1:{port}/")
    assert (fetched.connect_status or fetched.status) == 502
    record = proxy.access(client=fetched.client)
    assert (record["kind"], record["status"], record["error"]) == (way, 502, "connection_refused")
    assert b"error=connection_refused" in fetched.fields[b"proxy-status"]


def test_a_refusal_names_rule_message_and_record_to_a_person(
    tmp_path: Path, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "http://games.test/")
    assert fetched.status == 403
    assert fetched.fields[b"content-type"].startswith(b"text/html")
    record = proxy.access(client=fetched.client)
    assert b"no-games" in fetched.body
    assert b"Games are for after work." in fetched.body
    assert record["id"].encode() in fetched.body
    assert record["id"].encode() in fetched.fields[b"proxy-status"]
    assert (record["verdict"], record["rule"], record["address"]) == ("deny", "no-games", None)
    assert (record["status"], record["error"]) == (403, "http_request_denied")


def test_a_refusal_is_json_for_a_program(tmp_path: Path, proxy: ObservedProxy) -> None:
    fetched = curl(
        tmp_path, proxy.url, "--header", "Accept: application/json", "http://games.test/"
    )
    assert fetched.status == 403
    assert fetched.fields[b"content-type"].startswith(b"application/json")
    assert int(fetched.fields[b"content-length"]) == len(fetched.body)
    assert "Games are for after work." in json.dumps(json.loads(fetched.body))


def test_a_refused_tunnel_is_403_and_the_connection_ends(
    tmp_path: Path, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, proxy.url, "https://games.test/")
    assert (fetched.exit_code, fetched.connect_status) == (56, 403)
    assert fetched.fields[b"connection"].lower() == b"close"
    record = proxy.access(client=fetched.client)
    assert (record["kind"], record["target"]) == ("connect", "games.test:443")


def test_the_proxy_itself_answers_with_a_page_about_itself(
    tmp_path: Path, proxy: ObservedProxy
) -> None:
    fetched = curl(tmp_path, "", f"{proxy.url}/")
    assert fetched.status == 200
    assert b"wsproxy" in fetched.body
    assert proxy.access(client=fetched.client)["kind"] == "own"
