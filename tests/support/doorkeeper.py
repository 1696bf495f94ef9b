"""What a TLS listener needs, and what its clients show: an authority with every kind of certificate.

keeper = Doorkeeper(tmp_path)
config = f"listeners: [{keeper.listener()}]"
context = keeper.trusting(keeper.issue("alice", "desk"))
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.chains import USAGES

__all__ = ["FAR_FUTURE", "SERVER", "Doorkeeper", "Shown"]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
YESTERDAY = datetime(2021, 1, 1, tzinfo=UTC)
FAR_FUTURE = datetime(2120, 1, 1, tzinfo=UTC)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate and its key, as files.

    Attributes:
        certificate: PEM file.
        key: PEM file, for its owner only.
        serial: of the certificate.
    """

    certificate: Path
    key: Path
    serial: int

    def configure(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Has `context` show it."""
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(slots=True)
class Doorkeeper:
    """An authority for clients and for the listener, and the files of both.

    Attributes:
        folder: where all files are.
        name: of the authority.
        issuer: who vouches for it; None: it is a root.
        ca: PEM file of the authority.
        server: what the listener shows: for ``localhost``, ``127.0.0.1`` and ``proxy.test``.
    """

    folder: Path
    name: str = "the doorkeeper"
    issuer: Doorkeeper | None = None
    ca: Path = field(init=False)
    server: Shown = field(init=False)
    _key: ec.EllipticCurvePrivateKey = field(init=False)

    def __post_init__(self) -> None:
        """Makes the authority and the listener's certificate."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        signer = self.issuer or self
        builder = signer._builder(subject, self._key.public_key(), LONG_AGO, FAR_FUTURE)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        usage = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), True)
        self.ca = self._write("ca.pem", builder.sign(signer._key, hashes.SHA256()))
        names = [x509.DNSName("localhost"), x509.DNSName("proxy.test")]
        self.server = self.issue(
            "the proxy",
            names=[*names, x509.IPAddress(ip_address("127.0.0.1"))],
            purpose=SERVER,
            file="server",
        )

    def issue(
        self,
        user: str,
        *units: str,
        names: list[x509.GeneralName] | None = None,
        purpose: x509.ObjectIdentifier = CLIENT,
        last: datetime = FAR_FUTURE,
        file: str = "",
    ) -> Shown:
        """A certificate with that common name and those organizational units.

        Args:
            user: the common name; empty: it has none.
            units: in their order.
            names: the subjectAltName.
            purpose: what it may be used for.
            last: when it ends.
            file: what its files are called; as the user without.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, one) for one in units]
        if user:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        builder = self._builder(x509.Name(attributes), key.public_key(), LONG_AGO, last)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), not attributes)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        signed = builder.sign(self._key, hashes.SHA256())
        file = file or user or "nobody"
        key_file = self.folder / f"{file}.key"
        key_file.touch(0o600)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Shown(self._write(f"{file}.pem", signed), key_file, signed.serial_number)

    def issue_expired(self, user: str) -> Shown:
        """One that was good long ago."""
        return self.issue(user, last=YESTERDAY, file=f"{user}-expired")

    def revoke_nobody_since_long(self) -> Path:
        """A list of revocations that should have been replaced long ago."""
        return self.revoke(until=YESTERDAY, file="stale.pem")

    def revoke(self, *revoked: Shown, until: datetime = FAR_FUTURE, file: str = "crl.pem") -> Path:
        """A list of revocations that counts until `until`; replaces the file."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .last_update(LONG_AGO)
            .next_update(until)
        )
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.serial)
                .revocation_date(LONG_AGO + timedelta(days=1))
                .build()
            )
        return self._write(file, builder.sign(self._key, hashes.SHA256()))

    def listener(self, *, address: str = "127.0.0.1:0", more: str = "", asks: bool = True) -> str:
        """An entry of ``listeners`` in YAML, in one line.

        Args:
            address: where.
            more: keys of ``tls`` beside the files.
            asks: whether clients are asked for a certificate.
        """
        client_ca = f", client_ca: {self.ca}" if asks else ""
        files = f"certificate: {self.server.certificate}, key: {self.server.key}{client_ca}"
        return f"{{address: '{address}', tls: {{{files}{more}}}}}"

    def trusting(self, shown: Shown | None = None) -> ssl.SSLContext:
        """A client's side that trusts the listener, and shows that certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca)
        context.set_alpn_protocols(["http/1.1"])
        return context if shown is None else shown.configure(context)

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        first: datetime,
        last: datetime,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(first)
            .not_valid_after(last)
        )

    def _write(self, name: str, signed: x509.Certificate | x509.CertificateRevocationList) -> Path:
        path = self.folder / name
        path.write_bytes(signed.public_bytes(Encoding.PEM))
        return path
