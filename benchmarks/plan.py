"""What is measured: the modes are rows, the sets are tables."""

from __future__ import annotations

from dataclasses import dataclass

from peers import BUMPING, INSPECTING, INTERCEPTING, RECORDING, RULED, TAPPED, TRUSTING

__all__ = ["MODES", "SETS", "Mode", "Set"]

_OF_NAMES = ("first", "again")
"""Load about names: each in turn, and its time is what counts."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One thing that is measured.

    Attributes:
        title: for the table.
        load: mode of the load generator.
        tunnels: how many at a time.
        unit: of the figure.
        scale: from work a second to the unit.
        cpu_unit: of the proxy's processor time for its unit of work.
        cpu_scale: from seconds for a unit of work to that.
    """

    title: str
    load: str
    tunnels: int
    unit: str
    scale: float = 1.0
    cpu_unit: str = ""
    cpu_scale: float = 1.0

    @property
    def is_tls(self) -> bool:
        """Whether clients and origin speak TLS."""
        return self.load in ("wss", "new", *_OF_NAMES)

    @property
    def is_latency(self) -> bool:
        """Whether its figure is a time and not a rate."""
        return self.load in _OF_NAMES

    @property
    def is_of_fresh_process(self) -> bool:
        """Whether the proxy must not have done anything else yet."""
        return self.load in ("idle", *_OF_NAMES)


MODES = {
    "bulk16": Mode("bulk, 16 tunnels", "bulk", 16, "GB/s", 1e-9, "µs a MB", 1e12),
    "bulk1": Mode("bulk, 1 tunnel", "bulk", 1, "GB/s", 1e-9, "µs a MB", 1e12),
    "echo64": Mode("64-byte echo, 64 tunnels", "echo", 64, "k/s", 1e-3, "µs each", 1e6),
    "connect16": Mode("new CONNECTs, 16 at a time", "connect", 16, "k/s", 1e-3, "µs each", 1e6),
    "idle4000": Mode("memory of an idle tunnel, of 4000", "idle", 4000, "kB", 1e-3),
    "ws32": Mode("in tunnels", "ws", 32, "k/s", 1e-3, "µs each", 1e6),
    "wsabs32": Mode("by absolute-form", "wsabs", 32, "k/s", 1e-3, "µs each", 1e6),
    "wss32": Mode("64-byte messages, 32 WebSockets", "wss", 32, "k/s", 1e-3, "µs each", 1e6),
    "newtls16": Mode("new connections, 16 at a time", "new", 16, "/s", 1.0, "µs each", 1e6),
    "firstseen": Mode("handshake, name never seen before", "first", 1, "ms", 1e3),
    "seenagain": Mode("handshake, the same names again", "again", 1, "ms", 1e3),
}


@dataclass(frozen=True, slots=True)
class Set:
    """A table.

    Attributes:
        title: of the table.
        modes: its rows.
        peers: its columns.
        references: peers whose medians the others' are divided by.
        guarded: which of the two kinds of settings proxies get.
        direct: whether there is a column without a proxy.
    """

    title: str
    modes: tuple[str, ...]
    peers: tuple[str, ...]
    references: tuple[str, ...] = ("Squid",)
    guarded: bool = False
    direct: bool = True


SETS = {
    "open": Set(
        "No credentials, no access log",
        ("bulk16", "bulk1", "echo64", "connect16", "idle4000"),
        ("wsproxy", TAPPED, "Squid", "tinyproxy", "Envoy"),
    ),
    "guarded": Set(
        "Basic credentials, one rule, access log",
        ("echo64", "connect16", "idle4000"),
        ("wsproxy", "Squid", "tinyproxy", "Envoy"),
        guarded=True,
        direct=False,
    ),
    "ruled": Set(
        "wsproxy beside itself: a thousand users and a hundred rules",
        ("connect16",),
        ("wsproxy", RULED),
        references=("wsproxy",),
        direct=False,
    ),
    "inspected": Set(
        "WebSocket messages of 64 bytes and their echo, 32 WebSockets",
        ("ws32", "wsabs32"),
        ("wsproxy", TAPPED, RECORDING, "Squid", "Envoy", INSPECTING),
        references=("Envoy", INSPECTING),
    ),
    "intercepted": Set(
        "TLS that is looked into",
        ("wss32", "newtls16", "firstseen", "seenagain"),
        (INTERCEPTING, BUMPING, TRUSTING, INSPECTING),
        references=(BUMPING, INSPECTING),
    ),
}
