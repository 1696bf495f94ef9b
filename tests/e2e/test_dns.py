"""Name servers of its own, with curl through a real proxy: a real server, one that is down, one that lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import dns.message

from tests.support.fakedns import answer, run_fake_dns
from tests.support.nsd import run_nsd
from tests.support.programs import free_port
from tests.support.proxy_process import start_proxy

from .clients import curl
from .observed import ObservedProxy
from .origins import Nginx

ZONE = """
$ORIGIN test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
good A 127.0.0.1
both A 127.0.0.1
both AAAA ::1
alias CNAME good
inside A 127.0.0.1
nowhere TXT "no address"
"""
CONFIG = """
listeners: [{{address: 127.0.0.1:0}}]
policy:
  default: allow
  private_networks:
    - {{hosts: [good.test, both.test, alias.test, local.test, rebind.test], networks: {networks}}}
  rules:
    - {{name: from-five, action: allow, when: {{paths: "/file.txt*", hosts: good.test}}, source_address: 127.0.0.5}}
dns: {{servers: {servers}, timeout: 3s, hosts: {{local.test: 127.0.0.1}}}}
"""
LOOPBACK = '[127.0.0.0/8, "::1/128"]'


def test_names_by_a_server_of_our_own(tmp_path: Path, nginx: Nginx) -> None:
    with run_nsd(tmp_path / "nsd", ZONE) as nsd:
        servers = f"['127.0.0.1:{free_port()}', '127.0.0.1:{nsd.port}']"  # nobody is at the first
        config = CONFIG.format(networks=LOOPBACK, servers=servers)
        with start_proxy(config, tmp_path) as process:
            proxy = ObservedProxy(process)
            for name in ("good", "both", "alias", "local"):
                for way in ((), ("--proxytunnel",)):
                    url = f"http://{name}.test:{nginx.port}/file.txt"
                    fetched = curl(tmp_path, proxy.url, *way, url)
                    assert (fetched.status, fetched.body) == (200, b"a small file\n")
                    record = proxy.access(client=fetched.client)
                    assert record["address"] in {
                        f"127.0.0.1:{nginx.port}",
                        f"[::1]:{nginx.port}",
                    }
                    wanted = name == "good" and not way  # the path of a tunnel is nobody's business
                    assert record.get("source") == ("127.0.0.5" if wanted else None)
            for name, rcode in (("absent", "NXDOMAIN"), ("nowhere", "NOERROR")):
                fetched = curl(tmp_path, proxy.url, f"http://{name}.test/")
                assert fetched.status == 502
                assert proxy.access(client=fetched.client)["error"] == "dns_error"
                status = fetched.fields[b"proxy-status"].decode()
                assert re.search(rf'error=dns_error; .*; rcode="{rcode}"; id=', status)
            denied = curl(tmp_path, proxy.url, f"http://inside.test:{nginx.port}/file.txt")
            assert denied.status == 403
            assert b"destination_ip_prohibited" in denied.fields[b"proxy-status"]
            nsd.stop()
            # What is known goes on; what is not is nobody's any more.
            url = f"http://good.test:{nginx.port}/file.txt"
            assert curl(tmp_path, proxy.url, url).status == 200
            lost = curl(tmp_path, proxy.url, "http://other.test/")
            assert lost.status == 502
            detail = proxy.access(client=lost.client)["detail"]
            assert detail == "no address for other.test: no name server can be reached"
            nsd.start()
            assert curl(tmp_path, proxy.url, "http://other.test/").status == 502
            assert "does not answer; it is asked last" in process.stderr


def test_a_name_that_rebinds_is_refused_whenever_it_leads_inside(
    tmp_path: Path, nginx: Nginx
) -> None:
    outside, inside = "127.0.0.1", "10.0.0.1"

    def say(query: dns.message.Message, _tcp: bool) -> Sequence[bytes]:
        turn = server.asked.count("A rebind.test") % 2
        return [answer(query, outside if turn else inside)]

    with run_fake_dns(say) as server:
        config = CONFIG.format(
            networks="[127.0.0.0/8]", servers=f"['127.0.0.1:{server.port}']"
        ).replace("timeout: 3s", "timeout: 3s, cache: false")
        with start_proxy(config, tmp_path) as process:
            proxy = ObservedProxy(process)
            url = f"http://rebind.test:{nginx.port}/file.txt"
            fared = [curl(tmp_path, proxy.url, url).status for _ in range(6)]
            assert fared == [200, 403] * 3
            for record in proxy.matching(target=url):
                assert record["address"] in {None, f"127.0.0.1:{nginx.port}"}
    assert server.asked.count("A rebind.test") == 6, "once a request, G16"
    assert server.asked.count("AAAA rebind.test") == 6


def test_a_server_that_keeps_silent_is_a_timeout(tmp_path: Path) -> None:
    with run_fake_dns(lambda _query, _tcp: []) as server:
        config = CONFIG.format(networks="[127.0.0.0/8]", servers=f"['127.0.0.1:{server.port}']")
        with start_proxy(config.replace("3s", "300ms"), tmp_path) as process:
            proxy = ObservedProxy(process)
            fetched = curl(tmp_path, proxy.url, "http://slow.test/")
            assert fetched.status == 504
            assert b"error=dns_timeout" in fetched.fields[b"proxy-status"]
            record = proxy.access(client=fetched.client)
            assert record["detail"] == "the resolver did not answer for slow.test"
