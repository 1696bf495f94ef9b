"""Debian's Squid as a parent proxy that takes Kerberos tickets, and nothing else.

with run_squid(keytab, "HTTP/proxy.corp.example", realms.env) as squid:
    squid.port, squid.lines()
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import free_port, wait_listening

__all__ = ["Squid", "run_squid"]

PATIENCE_S = 20
_HELPER = "/usr/lib/squid/negotiate_kerberos_auth"
_CONFIGURATION = """
http_port 127.0.0.1:{port}
auth_param negotiate program {helper} -k {folder}/keytab -s {service}
auth_param negotiate children 2 startup=1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
logformat who %>p %rm %ru %>Hs %un
access_log stdio:{folder}/access.log who
buffered_logs off
cache deny all
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
shutdown_lifetime 0 seconds
"""


@dataclass(frozen=True, slots=True)
class Squid:
    """A Squid that runs.

    Attributes:
        port: of loopback.
        folder: where everything of it is.
    """

    port: int
    folder: Path

    def lines(self) -> list[str]:
        """Its access log: port of the client, method, URL, status, user."""
        return (self.folder / "access.log").read_text(encoding="utf-8").splitlines()


@contextlib.contextmanager
def run_squid(keytab: Path, service: str, env: Mapping[str, str]) -> Iterator[Squid]:
    """Squid, which takes tickets for `service` with the keys of `keytab`."""
    # Not pytest's folder, which only root may enter when root runs the tests, and Squid is another
    # user then.
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        folder = Path(name)
        shutil.copy(keytab, folder / "keytab")
        shutil.copy(env["KRB5_CONFIG"], folder / "krb5.conf")
        squid = Squid(free_port(), folder)
        text = _CONFIGURATION.format(
            port=squid.port, folder=folder, helper=_HELPER, service=service
        )
        (folder / "squid.conf").write_text(text)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "proxy")
        own = {"KRB5_CONFIG": f"{folder}/krb5.conf", "KRB5RCACHEDIR": name}
        process = subprocess.Popen(
            ["/usr/sbin/squid", "-N", "-f", str(folder / "squid.conf")],
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_listening(
                squid.port, process, log=squid.folder / "cache.log", patience_s=PATIENCE_S
            )
            yield squid
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
