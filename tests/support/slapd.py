"""OpenLDAP's slapd with a small directory, for one test or one module.

    with run_slapd(tmp_path, certificate) as slapd:
        slapd.port, slapd.tls_port
        slapd.stop(); slapd.start()

Everything it writes is below the directory it is given; it runs as whoever runs the tests.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.support.programs import free_port, wait_listening

BASE = "dc=corp"
SERVICE = "cn=proxy,dc=corp"
SERVICE_PASSWORD = "se:rvice"
ODD_NAME = 'o*d,d (+"\\<>;#= \u00fc\u4e2d'
"""A user name in which hardly anything may stand for itself in a filter or a DN."""

PATIENCE_S = 10

_SLAPD = Path("/usr/sbin/slapd")

# Users read their own entry, the service account reads all, nobody else reads anything: as
# directories are kept in earnest.
_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {directory}/slapd.pid
argsfile {directory}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile {directory}/chain.pem
TLSCertificateKeyFile {directory}/key.pem
database mdb
maxsize 16777216
suffix "dc=corp"
directory {directory}/data
limits dn.exact="cn=narrow,dc=corp" size=1
access to attrs=userPassword by anonymous auth by * none
access to dn.base="uid=blind,ou=people,dc=corp"
  by dn.exact="cn=proxy,dc=corp" read by * none
access to dn.subtree="ou=groups,dc=corp" by users read by * none
access to dn.base="ou=open,dc=corp" by * read
access to * by self read by dn.exact="cn=proxy,dc=corp" read
  by dn.exact="cn=narrow,dc=corp" read by anonymous search by * none
"""


def _entry(dn: str, **attributes: str | list[str]) -> str:
    """One record of LDIF (RFC 2849), every value in base64."""

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    lines = [f"dn:: {encoded(dn)}"]
    for name, value in attributes.items():
        values = [value] if isinstance(value, str) else value
        lines += [f"{name}:: {encoded(each)}" for each in values]
    return "\n".join(lines) + "\n\n"


def _person(rdn: str, uid: str | list[str], password: str, groups: list[str]) -> str:
    extra = {"memberOf": groups} if groups else {}
    return _entry(
        f"{rdn},ou=people,dc=corp",
        objectClass="inetOrgPerson",
        cn="somebody",
        sn="body",
        uid=uid,
        userPassword=password,
        **extra,
    )


_DESK = "cn=desk,ou=groups,dc=corp"
_ODD_DN = 'uid=o\\2ad\\2cd\\20\\28\\2b\\22\\5c\\3c\\3e\\3b\\23\\3d\\20ü中,ou=people,dc=corp'  # fmt: skip

LDIF = "".join(
    [
        _entry("dc=corp", objectClass=["dcObject", "organization"], dc="corp", o="corp"),
        _entry("ou=people,dc=corp", objectClass="organizationalUnit", ou="people"),
        _entry("ou=groups,dc=corp", objectClass="organizationalUnit", ou="groups"),
        *(
            _entry(
                f"cn={name},dc=corp",
                objectClass=["applicationProcess", "simpleSecurityObject"],
                cn=name,
                userPassword=SERVICE_PASSWORD,
            )
            for name in ("proxy", "narrow")
        ),
        _person("uid=alice", "alice", "wonder:land", [_DESK, "cn=Risk\\2C EU,ou=groups,dc=corp"]),
        _person("uid=bob", ["bert", "bob"], "builder", []),
        _person("uid=blind", "blind", "mouse", []),
        _person("cn=somebody", ["twin", "zwilling"], "castor", []),
        _person("cn=somebody+sn=body", ["twin"], "pollux", []),
        _person(_ODD_DN.removesuffix(",ou=people,dc=corp"), ODD_NAME, "odd", [_DESK]),
        _entry(
            _DESK,
            objectClass="groupOfNames",
            cn="desk",
            member=["uid=alice,ou=people,dc=corp", _ODD_DN],
        ),
        _entry(
            "cn=Risk\\2C EU,ou=groups,dc=corp",
            objectClass="groupOfNames",
            cn="Risk, EU",
            member="uid=alice,ou=people,dc=corp",
        ),
    ]
)


@dataclass(slots=True)
class Slapd:
    """A slapd that runs, unless it was stopped.

    Attributes:
        directory: where everything of it is.
        port: of ``ldap://127.0.0.1``.
        tls_port: of ``ldaps://127.0.0.1``.
    """

    directory: Path
    port: int
    tls_port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Returns when it listens."""
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port}"
        with (self.directory / "slapd.log").open("ab") as log:
            command = [*self._command(), "-d", "0", "-h", urls]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for port in (self.port, self.tls_port):
            wait_listening(port, self._process, patience_s=PATIENCE_S)

    def stop(self) -> None:
        """Returns when it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None

    def load(self, ldif: str) -> None:
        """Fills the directory; before the start."""
        (self.directory / "data").mkdir()
        command = self._command("-Tadd")
        subprocess.run(command, input=ldif.encode(), check=True, capture_output=True)

    def _command(self, *tool: str) -> list[str]:
        return [str(self.directory / "slapd"), *tool, "-f", str(self.directory / "slapd.conf")]


@contextlib.contextmanager
def run_slapd(directory: Path, certificate: trustme.LeafCert) -> Iterator[Slapd]:
    """Debian's slapd with `LDIF`, which shows `certificate` on ldaps:// and after StartTLS."""
    # A copy, because Debian's AppArmor profile goes by the path and lets the program read and
    # write nothing in a test's folder.
    shutil.copy(_SLAPD, directory / "slapd")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    (directory / "chain.pem").write_bytes(chain)
    key = directory / "key.pem"
    key.touch(mode=0o600)
    key.write_bytes(certificate.private_key_pem.bytes())
    (directory / "slapd.conf").write_text(_CONFIGURATION.format(directory=directory))
    slapd = Slapd(directory, free_port(), free_port())
    slapd.load(LDIF)
    slapd.start()
    try:
        yield slapd
    finally:
        slapd.stop()
