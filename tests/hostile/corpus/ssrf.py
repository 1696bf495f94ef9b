"""T11: every spelling of an address that only this machine or this network can reach.

Sent to a proxy whose policy has no zone; no connection may even be tried.  Names that would
need a name server are left to the tests with a resolver of their own.
"""

from __future__ import annotations

from tests.hostile.case import Case, head, refused

_PRIVATE = (
    # loopback
    b"127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 127.255.255.255 [::1] [0:0:0:0:0:0:0:1]"
    b" [0000:0000:0000:0000:0000:0000:0000:0001] [0::1] [::0:1] localhost LOCALHOST localhost."
    b" LocalHost. "
    # loopback in IPv6
    b" [::ffff:127.0.0.1] [::FFFF:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:0001] [::127.0.0.1]"
    b" [::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::]"
    b" [2002:7f00:0001::1] [2001:0:7f00:1::1] [2001::80ff:fffe] [fe80::5efe:127.0.0.1]"
    b" [::ffff:0:127.0.0.1] [::ffff:0:7f00:1]"
    # this host
    b" 0.0.0.0 0.0.0.1 0.1.2.3 [::] [0::0] [::ffff:0.0.0.0] [::0.0.0.0]"
    # metadata services
    b" 169.254.169.254 [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe]"
    b" [64:ff9b::169.254.169.254] [2002:a9fe:a9fe::] [fd00:ec2::254] 168.63.129.16 100.100.100.200"
    b" 169.254.170.2 169.254.0.1 169.254.255.255 [fd20:ce::254]"
    # private networks
    b" 10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255"
    b" [::ffff:10.0.0.1] [::ffff:192.168.0.1] [64:ff9b::10.0.0.1] [2002:a00:1::1] [2002:c0a8:1::]"
    b" 100.64.0.1 100.127.255.255 [fc00::1] [fd12:3456:789a::1] [fdff::1] [fe80::1] [febf::1]"
    b" [fec0::1]"
    # special purposes
    b" 192.0.0.1 192.0.0.8 192.0.0.170 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1"
    b" 192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 255.255.255.254"
    b" [ff02::1] [ff0e::1] [100::1] [2001:db8::1] [2001:2::1] [2001:10::1] [3fff::1] [5f00::1]"
    b" [1::1] [8000::1] [64:ff9b:1::1]"
)
_HIDDEN = (
    b"0177.0.0.1 0x7f.1 0x7f000001 2130706433 017700000001 127.1 127.0.1 0 0x0 127.0.0.1.."
    b" 127.0.0.01 %31%32%37.0.0.1 127%2e0.0.1 0xA9FEA9FE 2852039166 0251.0376.0251.0376"
    b" 169.254.43518 0xa9.0xfe.0xa9.0xfe 10.1 192.168.257 [::1%25lo] [::1%lo] [fe80::1%25eth0]"
    b" [::ffff:127.1] [127.0.0.1] 127.0.0.1%00 127.0.0.1%0d%0a 127.0.0.1%23 127.0.0.1%2f"
    b" \xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1 127\xe3\x80\x820\xe3\x80\x820\xe3\x80\x821"
    b" \xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1 allowed.example@127.0.0.1 allowed.example:80@127.0.0.1"
    b" 127.0.0.1#allowed.example 127.0.0.1\\allowed.example 00000177.0.0.1 0x000000007f.0.0.1"
)


def _cases() -> list[Case]:
    cases: list[Case] = []
    for hosts, status in ((_PRIVATE, 403), (_HIDDEN, 400)):
        for host in hosts.split():
            name = host.decode("utf-8")
            classes = "T8 T11" if status == 400 else ""
            if not name.isascii() or "#" in name or "\\" in name:
                classes = "T1 T8 T11"
            target = b"http://" + host + b":@P@/"
            get = b"GET " + target + b" HTTP/1.1\r\n@A@Host: allowed.example\r\n\r\n"
            connect = head(b"CONNECT " + host + b":@P@ HTTP/1.1")
            cases.append(
                refused("T11", f"GET {name}", get, status, classes=classes, closes=status == 400)
            )
            cases.append(refused("T11", f"CONNECT {name}", connect, status, classes=classes))
    return cases


CASES = _cases()
