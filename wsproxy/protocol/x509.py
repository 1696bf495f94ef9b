"""The interception CA: made, loaded, and the leaves it signs; octets and times in, PEM out.

A leaf must pass the strictest client (OpenSSL's `X509_STRICT` is Python's default from 3.13).
Its validity begins in the past, because clocks of clients are wrong.  Decided here:

- A leaf for a name of more than 64 characters has an empty subject; only then is the subject
  alternative name critical (RFC 5280 §4.2.1.6).  So has every leaf for an address: where no
  alternative name is a DNS name, OpenSSL holds a common name like ``192.0.2.1`` against the DNS
  names that a CA is limited to.
- A CA limited to DNS names could still sign for every address, and the other way round:
  constraints bind only names of their own kind (§4.2.1.10).  So the other kind is excluded.
- A wildcard is never signed, whoever asks.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wsproxy.errors import ClientProtocolError
from wsproxy.protocol.authority import parse_host

__all__ = [
    "Authority",
    "create_authority",
    "describe",
    "fingerprint",
    "load_authority",
    "mint",
    "new_leaf_key",
]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_CAKey = EllipticCurvePrivateKey | rsa.RSAPrivateKey
_BAD_FORM: Final = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
_UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, *_BAD_FORM)
_MAX_COMMON_NAME: Final = 64  # characters; ub-common-name, RFC 5280 appendix A.1
_MAX_DAYS: Final = 36500
_MIN_RSA_BITS: Final = 2048  # this and the curves: CA/Browser Forum, Baseline Requirements §6.1.5
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_EVERY_NAME: Final = [x509.DNSName("")]
_EVERY_ADDRESS: Final = [x509.IPAddress(ip_network(text)) for text in ("0.0.0.0/0", "::/0")]


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that signs leaves.

    Attributes:
        certificate: of the CA.
        key: that belongs to it; never shown.
        chain_pem: its certificate and those behind it in its file, to be sent after the leaf.
    """

    certificate: x509.Certificate
    key: _CAKey = field(repr=False)
    chain_pem: bytes


def create_authority(
    common_name: str, *, now: datetime, days: int = 3650, permitted: Sequence[str] = ()
) -> tuple[bytes, bytes]:
    """Makes a CA that signs leaves but no CAs; returns certificate and key (PKCS #8), PEM.

    Args:
        common_name: of its subject, 1 … 64 printable characters.
        now: with time zone; it is valid from one day earlier.
        days: from now to its end, 1 … 36500.
        permitted: DNS names, each with those below it, and IP networks; empty: anything.

    Raises:
        ValueError: an argument that cannot be used.
    """
    if not 1 <= len(common_name) <= _MAX_COMMON_NAME or not common_name.isprintable():
        raise ValueError(f"the CA's name must be 1 to {_MAX_COMMON_NAME} printable characters")
    if not 1 <= days <= _MAX_DAYS:
        raise ValueError(f"the CA must be valid for 1 to {_MAX_DAYS} days")
    key = new_leaf_key()
    subject = _common_name(common_name)
    builder = (
        _builder(subject, key, issuer=subject, signer=_identifier(key))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    if permitted:
        builder = builder.add_extension(_constraints(permitted), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_authority(certificate_pem: bytes, key_pem: bytes, *, now: datetime) -> Authority:
    """Reads a CA that interception can sign with.

    Args:
        certificate_pem: its certificate, and behind it those between it and its root.
        key_pem: the private key of the first of them.  One file may hold everything.
        now: with time zone.

    Raises:
        ValueError: one sentence that says why it is of no use.
    """
    certificate, *behind = _certificates(certificate_pem)
    key = _private_key(key_pem)
    if _spki(certificate) != _spki(key):
        raise ValueError("the CA key does not belong to the (first) certificate in the CA's file")
    constraints = _find(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ValueError("the CA certificate is not one of a CA: BasicConstraints lacks CA:TRUE")
    usage = _find(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the CA certificate may not sign others: KeyUsage lacks keyCertSign")
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        raise ValueError(f"the CA certificate expired on {end:%F}; make one with 'wsproxy ca init'")
    if now < start:
        raise ValueError(f"the CA certificate is valid from {start:%F} on; is the clock right?")
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *behind))
    return Authority(certificate, key, chain)


def new_leaf_key() -> EllipticCurvePrivateKey:
    """A key on P-256; many leaves may share one."""
    return ec.generate_private_key(ec.SECP256R1())


def mint(
    authority: Authority, host: str, *, key: EllipticCurvePrivateKey, now: datetime, days: int = 7
) -> bytes:
    """Signs a leaf for one host and returns it as PEM; `Authority.chain_pem` goes behind it.

    Whether the CA's own constraints permit the host is for the client to judge.

    Args:
        authority: who signs.
        host: DNS name or IP address as in `Host.text`: IPv6 without brackets.
        key: of the leaf.
        now: with time zone.  Validity starts two days earlier; the CA's own bounds it.
        days: from now to its end, 1 or more.

    Raises:
        ValueError: `host` is no host this proxy takes, or the CA has expired.
    """
    issuer = authority.certificate
    subject, alternative = _names_of(host)
    not_after = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    if not_after <= now:
        raise ValueError(f"the CA certificate expired on {not_after:%F}")
    signer = _find(issuer, x509.SubjectKeyIdentifier) or _identifier(authority.key)
    builder = (
        _builder(subject, key, issuer=issuer.subject, signer=signer)
        .not_valid_before(max(now - timedelta(days=2), issuer.not_valid_before_utc))
        .not_valid_after(not_after)
        .add_extension(alternative, critical=not list(subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the first certificate, as ``AA:BB:…``; ValueError where there is none."""
    return _certificates(certificate_pem)[0].fingerprint(hashes.SHA256()).hex(":").upper()


def describe(certificate_pem: bytes) -> dict[str, str | list[str]]:
    """What a person or a script wants to know of the first certificate.

    ``serial`` is hexadecimal, ``spki_sha256`` base64; ``permitted`` is empty without limits.

    Raises:
        ValueError: there is no certificate that can be read.
    """
    certificate = _certificates(certificate_pem)[0]
    constraints = _find(certificate, x509.NameConstraints)
    permitted = (constraints and constraints.permitted_subtrees) or []
    spki = hashlib.sha256(_spki(certificate)).digest()
    return {
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "fingerprint_sha256": fingerprint(certificate_pem),
        "spki_sha256": base64.b64encode(spki).decode("ascii"),
        "permitted": [str(name.value) for name in permitted],
    }


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, key: _CAKey, *, issuer: x509.Name, signer: x509.SubjectKeyIdentifier
) -> x509.CertificateBuilder:
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(secrets.randbits(128) or 1)  # positive, RFC 5280 §4.1.2.2
        .add_extension(_identifier(key), critical=False)
        .add_extension(by, critical=False)
    )


def _names_of(host: str) -> tuple[x509.Name, x509.SubjectAlternativeName]:
    try:  # the one parser of hosts: no wildcard, no zone, no NUL passes it
        parsed = parse_host((f"[{host}]" if ":" in host else host).encode())
    except (ClientProtocolError, UnicodeEncodeError) as error:
        raise ValueError(f"no leaf for {host!r}: {error}") from None
    if parsed.address is not None:
        return x509.Name([]), x509.SubjectAlternativeName([x509.IPAddress(parsed.address)])
    fits = len(parsed.text) <= _MAX_COMMON_NAME
    return _common_name(parsed.text) if fits else x509.Name([]), x509.SubjectAlternativeName(
        [x509.DNSName(parsed.text)]
    )


def _constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    trees = [_subtree(text) for text in permitted]
    kinds = {type(tree) for tree in trees}
    names = () if x509.DNSName in kinds else _EVERY_NAME
    addresses = () if x509.IPAddress in kinds else _EVERY_ADDRESS
    return x509.NameConstraints(trees, [*names, *addresses] or None)


def _subtree(text: str) -> x509.DNSName | x509.IPAddress:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ip_network(text))
    try:
        return x509.DNSName(parse_host(text.encode()).text)
    except (ClientProtocolError, UnicodeEncodeError):
        wanted = "example.com, which covers all names below it, or a network like 10.0.0.0/8"
        raise ValueError(f"cannot permit {text!r}; write a name like {wanted}") from None


def _key_usage(*allowed: str) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in allowed for name in names})


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        certificates[0].public_key()  # is parsed only now, and must not fail later
        len(certificates[0].extensions)  # the same
    except _UNREADABLE:
        raise ValueError("no PEM certificate ('-----BEGIN CERTIFICATE-----') to read") from None
    return certificates


def _private_key(pem: bytes) -> _CAKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the CA key is encrypted; decrypt it with 'openssl pkey'") from None
    except _UNREADABLE:
        raise ValueError("the CA key is no PEM private key that can be read") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size >= _MIN_RSA_BITS:
            return key
        raise ValueError(f"the CA key is RSA of {key.key_size} bits, fewer than {_MIN_RSA_BITS}")
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    raise ValueError("the CA key is neither RSA nor ECDSA on P-256, P-384 or P-521")


def _identifier(key: _CAKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _spki(holder: x509.Certificate | _CAKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return holder.public_key().public_bytes(Encoding.DER, form)


def _find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((e.value for e in certificate.extensions if isinstance(e.value, kind)), None)
