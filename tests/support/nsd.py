"""Debian's NSD, an authoritative name server, with one zone, for one test or one module.

    with run_nsd(tmp_path, ZONE) as nsd:
        nsd.port
        nsd.stop(); nsd.start()

It answers on 127.0.0.1, over UDP and TCP; everything it writes is below the directory it is given.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.support.programs import free_port

__all__ = ["Nsd", "run_nsd"]

PATIENCE_S = 10

_NSD = Path("/usr/sbin/nsd")
_CONFIGURATION = """
server:
  ip-address: 127.0.0.1
  port: {port}
  server-count: 1
  username: ""
  database: ""
  chroot: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
  xfrdir: "{directory}"
  logfile: "{directory}/nsd.log"
remote-control:
  control-enable: no
zone:
  name: {name}
  zonefile: zone
"""


@dataclass(slots=True)
class Nsd:
    """A server that runs, unless it was stopped.

    Attributes:
        directory: where everything of it is.
        port: on 127.0.0.1.
    """

    directory: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Returns when it answers."""
        with (self.directory / "nsd.out").open("ab") as log:
            command = [str(self.directory / "nsd"), "-d", "-c", str(self.directory / "nsd.conf")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        waiter = threading.Event()
        for _ in range(PATIENCE_S * 50):
            if self._answers():
                return
            assert self._process.poll() is None, "nsd did not start: see nsd.log beside its zone"
            waiter.wait(0.02)
        raise AssertionError("nsd does not answer")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, dns.exception.DNSException):
            dns.query.tcp(dns.message.make_query("test.", "SOA"), "127.0.0.1", 1, self.port)
            return True
        return False

    def stop(self) -> None:
        """Returns when it has ended, children included."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None


@contextlib.contextmanager
def run_nsd(directory: Path, zone: str, *, name: str = "test") -> Iterator[Nsd]:
    """A server of the zone `name`, in the form of RFC 1035 §5."""
    directory.mkdir(parents=True, exist_ok=True)
    # A copy, because Debian's AppArmor profile goes by the path.
    shutil.copy(_NSD, directory / "nsd")
    (directory / "zone").write_text(zone)
    nsd = Nsd(directory, free_port())
    configuration = _CONFIGURATION.format(port=nsd.port, directory=directory, name=name)
    (directory / "nsd.conf").write_text(configuration)
    nsd.start()
    try:
        yield nsd
    finally:
        nsd.stop()
