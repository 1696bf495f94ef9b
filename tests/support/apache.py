"""Debian's Apache as an origin that asks for credentials: Basic, Digest and Negotiate.

with run_apache(keytab, realms.env) as apache:
    f"http://localhost:{apache.port}/digest", apache.lines()
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from tests.support.programs import free_port, wait_listening

__all__ = ["PASSWORD", "USER", "Apache", "run_apache"]

PATIENCE_S = 20
USER, PASSWORD = "alice", "open sesame"
_MODULES = [
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_user",
    "auth_basic",
    "auth_digest",
    "auth_gssapi",
    "dir",
]
_CONFIGURATION = """
{modules}
ServerName localhost
Listen 127.0.0.1:{port}
User www-data
Group www-data
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
LogFormat "%{{remote}}p %u %>s %U" who
CustomLog {folder}/access.log who
DocumentRoot {folder}/root
KeepAlive On
KeepAliveTimeout 60
<Location /basic>
  AuthType Basic
  AuthName origin
  AuthUserFile {folder}/basic
  Require valid-user
</Location>
<Location /digest>
  AuthType Digest
  AuthName origin
  AuthDigestProvider file
  AuthUserFile {folder}/digest
  Require valid-user
</Location>
<Location /negotiate>
  AuthType GSSAPI
  AuthName origin
  GssapiCredStore keytab:{folder}/keytab
  GssapiConnectionBound On
  Require valid-user
</Location>
"""


@dataclass(frozen=True, slots=True)
class Apache:
    """An Apache that runs.

    Attributes:
        port: of loopback.
        folder: where everything of it is.
    """

    port: int
    folder: Path

    def lines(self) -> list[list[str]]:
        """Its access log: port of the connection's other end, user or ``-``, status, path."""
        text = (self.folder / "access.log").read_text(encoding="utf-8")
        return [line.split() for line in text.splitlines()]


@contextlib.contextmanager
def run_apache(keytab: Path, env: Mapping[str, str]) -> Iterator[Apache]:
    """Apache with one file below each of ``/basic``, ``/digest`` and ``/negotiate``."""
    # Not pytest's folder: see `tests.support.squid`.
    with tempfile.TemporaryDirectory(prefix="apache-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        apache = Apache(free_port(), folder)
        for scheme in ("basic", "digest", "negotiate"):
            (folder / "root" / scheme).mkdir(parents=True)
            (folder / "root" / scheme / "file.txt").write_text(f"{scheme} knows you\n")
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / "basic").write_text(f"{USER}:{hashed}\n")
        secret = hashlib.md5(f"{USER}:origin:{PASSWORD}".encode(), usedforsecurity=False)
        (folder / "digest").write_text(f"{USER}:origin:{secret.hexdigest()}\n")
        shutil.copy(keytab, folder / "keytab")
        shutil.copy(env["KRB5_CONFIG"], folder / "krb5.conf")
        loads = "\n".join(
            f"LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so"
            for module in _MODULES
        )
        text = _CONFIGURATION.format(modules=loads, port=apache.port, folder=folder)
        (folder / "apache.conf").write_text(text)
        if os.geteuid() == 0:
            for path in (folder, folder / "keytab"):
                shutil.chown(path, "www-data")
        own = {"KRB5_CONFIG": f"{folder}/krb5.conf", "KRB5RCACHEDIR": name}
        process = subprocess.Popen(
            ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(folder / "apache.conf")],
            env={**os.environ, **own},
        )
        try:
            wait_listening(apache.port, process, patience_s=PATIENCE_S)
            yield apache
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
