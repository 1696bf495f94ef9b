"""Who begins with a PROXY header."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from wsproxy.policy.networks import compile_networks
from wsproxy.proxy.entrance import Entrance


def test_only_who_is_trusted_is_expected_to_send_a_header() -> None:
    networks = compile_networks([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
    entrance = Entrance(trusted=networks)
    for text, expected in {"10.9.8.7": True, "11.0.0.1": False, "2001:db8::1": True}.items():
        assert entrance.expects_header(ip_address(text)) is expected
        assert not Entrance().expects_header(ip_address(text))
