"""Certificate chains that an origin may show: every kind of bad one, and good ones beside them.

A bad case is the good one (`example.com`, signed by one root) with exactly one thing wrong, so
that a refusal can only be about that thing; `Case.reason` says what the refusal must name.
Cases are made when they are asked for: collecting the tests costs no signature.

    for name in BAD:
        case = make_case(name)
        context = server_context(case)   # serves it, however weak it is

All dates are fixed.  What the library refuses to sign (SHA-1, MD5, altered octets) is patched
into the DER and signed by hand.
"""

from __future__ import annotations

import ssl
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

__all__ = ["BAD", "GOOD", "Case", "bad_cases", "good_cases", "make_case", "server_context"]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Issuer = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Configure = Callable[[ssl.SSLContext], None]

LONG_AGO, PAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
FUTURE, FAR_FUTURE = datetime(2048, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """An origin's certificates, and what a client that trusts `roots_pem` has to say about them.

    Attributes:
        name: what is special about it.
        host: who the client wants to talk to: a DNS name or an IP address.
        chain_pem: what the server sends, leaf first.
        key_pem: the leaf's private key.
        roots_pem: what the client trusts.
        crl_pem: the revocation lists that the client has; None for a client without.
        reason: None for a good case, else a lower-case fragment of the refusal.
        configure: a last change to the server's context.
    """

    name: str
    host: str
    chain_pem: bytes
    key_pem: bytes
    roots_pem: bytes
    crl_pem: bytes | None = None
    reason: str | None = None
    configure: Configure | None = None


def bad_cases() -> list[Case]:
    """Every chain that must be refused."""
    return [make_case(name) for name in BAD]


def good_cases() -> list[Case]:
    """Every chain that must be accepted."""
    return [make_case(name) for name in GOOD]


def make_case(name: str) -> Case:
    """The case of that name, freshly signed."""
    return replace((BAD | GOOD)[name](), name=name)


def server_context(case: Case) -> ssl.SSLContext:
    """A server that shows the chain of `case`, and is itself content with anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    _set_versions(context, ssl.TLSVersion.TLSv1, ssl.TLSVersion.MAXIMUM_SUPPORTED)
    if case.configure is not None:
        case.configure(context)
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        chain.write_bytes(case.chain_pem)
        key.write_bytes(case.key_pem)
        context.load_cert_chain(chain, key)
    return context


def _set_versions(context: ssl.SSLContext, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the point
        context.minimum_version = lowest
        context.maximum_version = highest


def _only(version: ssl.TLSVersion) -> Configure:
    return partial(_set_versions, lowest=version, highest=version)


def _only_anonymous(context: ssl.SSLContext) -> None:
    context.set_ciphers("aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2


# ---------------------------------------------------------------- keys


@cache
def _key(owner: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def _rsa_key(bits: int, owner: str = "leaf") -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


# ---------------------------------------------------------------- one certificate


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key; `pem` is what is sent, whatever was done to it since."""

    parsed: x509.Certificate
    key: PrivateKey
    pem: bytes

    @property
    def issuer_key(self) -> Issuer:
        assert not isinstance(self.key, ed25519.Ed25519PrivateKey)
        return self.key


@dataclass(frozen=True)
class Plan:
    """What a certificate will say; the defaults are those of a good leaf."""

    name: str = "a leaf"
    sans: tuple[str | x509.GeneralName, ...] = ("example.com",)
    key: PrivateKey | None = None
    first: datetime = LONG_AGO
    last: datetime = FAR_FUTURE
    is_ca: bool = False
    path_length: int | None = None
    usages: tuple[str, ...] = ("digital_signature",)
    purposes: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,)
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    is_pss: bool = False


LEAF = Plan()
AUTHORITY = Plan(
    name="an authority", sans=(), is_ca=True, usages=("key_cert_sign", "crl_sign"), purposes=()
)
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _issue(plan: Plan, issuer: Certificate | None) -> Certificate:
    """Sign what is planned; an `issuer` of None means self-signed."""
    key = plan.key or _key(plan.name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, plan.name)])
    signer = issuer.issuer_key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.parsed.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(plan.first)
        .not_valid_after(plan.last)
    )
    for extension, critical in _extensions(plan, key, signer):
        builder = builder.add_extension(extension, critical)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    signed = builder.sign(signer, hashes.SHA256(), rsa_padding=pss if plan.is_pss else None)
    return Certificate(signed, key, signed.public_bytes(Encoding.PEM))


def _extensions(
    plan: Plan, key: PrivateKey, signer: PrivateKey
) -> list[tuple[x509.ExtensionType, bool]]:
    usages = {usage: usage in plan.usages for usage in USAGES}
    made: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        (x509.BasicConstraints(plan.is_ca, plan.path_length), True),
        (x509.KeyUsage(**usages), True),
    ]
    if plan.sans:
        names = [x509.DNSName(san) if isinstance(san, str) else san for san in plan.sans]
        made.append((x509.SubjectAlternativeName(names), False))
    if plan.purposes:
        made.append((x509.ExtendedKeyUsage(plan.purposes), False))
    return made + list(plan.more)


def _ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ip_address(text))


def _constraints(
    *, permitted: x509.GeneralName | None = None, excluded: x509.GeneralName | None = None
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    constraints = x509.NameConstraints(
        [permitted] if permitted else None, [excluded] if excluded else None
    )
    return ((constraints, True),)


UNKNOWN_CRITICAL: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"), True),
)
HUGE: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.2"), bytes(160_000)), False),
)


# ---------------------------------------------------------------- by hand

SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")
MD5_WITH_RSA = bytes.fromhex("06092a864886f70d010104")


def _resigned(
    certificate: Certificate, key: Issuer, oid: bytes, algorithm: hashes.HashAlgorithm
) -> Certificate:
    """The same with an older hash.  The OIDs differ in one octet, so that no length changes."""
    assert isinstance(key, rsa.RSAPrivateKey)
    signed = certificate.parsed.tbs_certificate_bytes.replace(SHA256_WITH_RSA, oid)
    signature = key.sign(signed, padding.PKCS1v15(), algorithm)
    der = certificate.parsed.public_bytes(Encoding.DER).replace(SHA256_WITH_RSA, oid)
    return _with_der(certificate, der[: -len(signature)] + signature)


def _altered(certificate: Certificate, old: bytes, new: bytes) -> Certificate:
    """The same with other octets under the old signature."""
    der = certificate.parsed.public_bytes(Encoding.DER)
    assert der.count(old) == 1 and len(old) == len(new)
    return _with_der(certificate, der.replace(old, new))


def _with_broken_signature(certificate: Certificate) -> Certificate:
    der = bytearray(certificate.parsed.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return _with_der(certificate, bytes(der))


def _with_der(certificate: Certificate, der: bytes) -> Certificate:
    return replace(certificate, pem=ssl.DER_cert_to_PEM_cert(der).encode())


# ---------------------------------------------------------------- the usual cast


@cache
def _root(name: str = "the root", *, rsa_bits: int = 0, last: datetime = FAR_FUTURE) -> Certificate:
    key = _rsa_key(rsa_bits, name) if rsa_bits else _key(name)
    return _issue(replace(AUTHORITY, name=name, key=key, last=last), None)


def _serve(
    leaf: Certificate,
    *others: Certificate,
    host: str = "example.com",
    roots: tuple[Certificate, ...] | None = None,
    crls: tuple[x509.CertificateRevocationList, ...] = (),
    reason: str | None = None,
    configure: Configure | None = None,
) -> Case:
    """A case whose server sends `leaf` and `others`; make_case names it."""
    key_pem = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Case(
        name="",
        host=host,
        chain_pem=b"".join(each.pem for each in (leaf, *others)),
        key_pem=key_pem,
        roots_pem=b"".join(each.pem for each in roots or (_root(),)),
        crl_pem=b"".join(each.public_bytes(Encoding.PEM) for each in crls) or None,
        reason=reason,
        configure=configure,
    )


def _leaf_only(
    reason: str | None,
    plan: Plan = LEAF,
    *,
    host: str = "example.com",
    configure: Configure | None = None,
) -> Case:
    """A leaf signed by the root itself."""
    return _serve(_issue(plan, _root()), host=host, reason=reason, configure=configure)


def _named(reason: str | None, host: str, *sans: str | x509.GeneralName, cn: str = "") -> Case:
    """A leaf with these names and nothing else special."""
    return _leaf_only(reason, replace(LEAF, sans=sans, name=cn or LEAF.name), host=host)


def _through(
    reason: str | None, between: Plan, plan: Plan = LEAF, *, host: str = "example.com"
) -> Case:
    """A leaf signed by an intermediate that is as planned."""
    intermediate = _issue(between, _root())
    return _serve(_issue(plan, intermediate), intermediate, host=host, reason=reason)


# ---------------------------------------------------------------- cases of more than one line


def _unknown_issuer() -> Case:
    stranger = _root("a stranger")
    return _serve(_issue(LEAF, stranger), reason="unable to get local issuer")


def _unknown_issuer_with_its_root() -> Case:
    stranger = _root("a stranger")
    return _serve(_issue(LEAF, stranger), stranger, reason="self-signed certificate in")


def _impostor() -> Case:
    """An issuer with the name of the trusted root, and another key."""
    stranger = _issue(replace(AUTHORITY, name="the root", key=_key("a stranger")), None)
    return _serve(_issue(LEAF, stranger), reason="unable to get local issuer")


def _leaf_as_issuer() -> Case:
    """Whoever has a certificate for one name signs one for another: CVE-2002-0862."""
    attacker = _issue(replace(LEAF, name="attacker", sans=("attacker.test",)), _root())
    return _serve(_issue(LEAF, attacker), attacker, reason="invalid ca certificate")


def _chain_of_three(*, path_length: int | None, reason: str | None) -> Case:
    upper = _issue(replace(AUTHORITY, name="upper", path_length=path_length), _root())
    lower = _issue(replace(AUTHORITY, name="lower"), upper)
    return _serve(_issue(LEAF, lower), lower, upper, reason=reason)


def _missing_intermediate() -> Case:
    intermediate = _issue(AUTHORITY, _root())
    return _serve(_issue(LEAF, intermediate), reason="unable to get local issuer")


def _expired_root() -> Case:
    root = _root("an old root", last=PAST)
    return _serve(_issue(LEAF, root), roots=(root,), reason="expired")


def _old_hash(oid: bytes, algorithm: hashes.HashAlgorithm) -> Case:
    root = _root("an RSA root", rsa_bits=2048)
    leaf = _resigned(_issue(LEAF, root), root.issuer_key, oid, algorithm)
    return _serve(leaf, roots=(root,), reason="digest algorithm too weak")


def _sha1_intermediate() -> Case:
    root = _root("an RSA root", rsa_bits=2048)
    intermediate = _issue(AUTHORITY, root)
    old = _resigned(intermediate, root.issuer_key, SHA1_WITH_RSA, hashes.SHA1())
    return _serve(
        _issue(LEAF, intermediate), old, roots=(root,), reason="digest algorithm too weak"
    )


def _altered_name() -> Case:
    leaf = _issue(replace(LEAF, sans=("exbmple.com",)), _root())
    return _serve(_altered(leaf, b"exbmple", b"example"), reason="signature failure")


def _with_crl(
    reason: str | None,
    *revoked: str,
    next_update: datetime = FAR_FUTURE,
    forged: bool = False,
    from_root_only: bool = False,
) -> Case:
    """A chain of two with the lists of both authorities; `revoked` are names of certificates."""
    intermediate = _issue(AUTHORITY, _root())
    leaf = _issue(LEAF, intermediate)
    taken_back = [
        each for each in (leaf, intermediate) if each.parsed.subject.rfc4514_string()[3:] in revoked
    ]
    lists = [_crl(_root(), taken_back, FAR_FUTURE, _root().issuer_key)]
    if not from_root_only:
        signer = _key("a stranger") if forged else intermediate.issuer_key
        lists.append(_crl(intermediate, taken_back, next_update, signer))
    return _serve(leaf, intermediate, crls=tuple(lists), reason=reason)


def _crl(
    issuer: Certificate, revoked: list[Certificate], next_update: datetime, signer: Issuer
) -> x509.CertificateRevocationList:
    public = issuer.key.public_key()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.parsed.subject)
        .last_update(LONG_AGO)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(1), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
    )
    for each in revoked:
        if each.parsed.issuer == issuer.parsed.subject:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.parsed.serial_number)
                .revocation_date(LONG_AGO)
                .build()
            )
    return builder.sign(signer, hashes.SHA256())


def _huge_chain() -> Case:
    """More than OpenSSL reads of one Certificate message."""
    stuffing = _issue(replace(AUTHORITY, name="stuffing", more=HUGE), _root())
    return _serve(_issue(LEAF, _root()), stuffing, reason="excessive message size")


def _pss() -> Case:
    root = _root("an RSA root", rsa_bits=2048)
    return _serve(_issue(replace(LEAF, key=_rsa_key(3072), is_pss=True), root), roots=(root,))


def _out_of_order() -> Case:
    upper = _issue(replace(AUTHORITY, name="upper"), _root())
    lower = _issue(replace(AUTHORITY, name="lower"), upper)
    return _serve(_issue(LEAF, lower), upper, lower)


def _cross_signed() -> Case:
    """The server still sends the way to a root that expired: DST Root CA X3, September 2021."""
    old, new = _root("an old root", last=PAST), _root()
    crossed = _issue(replace(AUTHORITY, name="the root", key=new.key), old)
    intermediate = _issue(AUTHORITY, new)
    return _serve(_issue(LEAF, intermediate), intermediate, crossed, roots=(old, new))


def _sha1_root() -> Case:
    """Nobody relies on the signature of a root on itself."""
    root = _root("an RSA root", rsa_bits=2048)
    old = _resigned(root, root.issuer_key, SHA1_WITH_RSA, hashes.SHA1())
    return _serve(_issue(LEAF, root), roots=(old,))


def _trusted_itself() -> Case:
    leaf = _issue(LEAF, None)
    return _serve(leaf, roots=(leaf,))


# ---------------------------------------------------------------- the tables

HOST, ADDRESS = "hostname mismatch", "ip address mismatch"
LONG_LIST = tuple(f"host-{number}.example.net" for number in range(1000))

BAD: dict[str, Callable[[], Case]] = {
    # times
    "expired": lambda: _leaf_only("expired", replace(LEAF, last=PAST)),
    "not yet valid": lambda: _leaf_only("not yet valid", replace(LEAF, first=FUTURE)),
    "expired intermediate": lambda: _through("expired", replace(AUTHORITY, last=PAST)),
    "intermediate not yet valid": lambda: _through(
        "not yet valid", replace(AUTHORITY, first=FUTURE)
    ),
    "expired root": _expired_root,
    # names
    "wrong host": lambda: _named(HOST, "example.com", "example.org"),
    "wrong host, right common name": lambda: _named(
        HOST, "example.com", "example.org", cn="example.com"
    ),
    "common name only": lambda: _named(HOST, "example.com", cn="example.com"),
    "parent domain": lambda: _named(HOST, "www.example.com", "example.com"),
    "wildcard for its own parent": lambda: _named(HOST, "example.com", "*.example.com"),
    "wildcard for two labels": lambda: _named(HOST, "a.b.example.com", "*.example.com"),
    "wildcard under a top-level domain": lambda: _named(HOST, "example.com", "*.com"),
    "wildcard alone": lambda: _named(HOST, "example.com", "*"),
    "wildcard behind part of a label": lambda: _named(HOST, "foo.example.com", "f*.example.com"),
    "wildcard before part of a label": lambda: _named(HOST, "foo.example.com", "*o.example.com"),
    "wildcard inside a label": lambda: _named(HOST, "foo.example.com", "f*o.example.com"),
    "wildcard in a later label": lambda: _named(HOST, "a.b.example.com", "a.*.example.com"),
    "two wildcards": lambda: _named(HOST, "a.b.example.com", "*.*.example.com"),
    "wildcard in an A-label": lambda: _named(
        HOST, "xn--bcher-kva.example.com", "xn--*.example.com"
    ),
    "leading dot": lambda: _named(HOST, "www.example.com", ".example.com"),
    "NUL in the name": lambda: _named(HOST, "example.com", "example.com\0.evil.test"),
    "URI instead of a name": lambda: _named(
        HOST, "example.com", x509.UniformResourceIdentifier("https://example.com/")
    ),
    "mail address instead of a name": lambda: _named(
        HOST, "example.com", x509.RFC822Name("root@example.com")
    ),
    "wrong address": lambda: _named(ADDRESS, "127.0.0.1", _ip("127.0.0.2")),
    "address in the common name only": lambda: _named(ADDRESS, "127.0.0.1", cn="127.0.0.1"),
    "address as a DNS name": lambda: _named(ADDRESS, "127.0.0.1", "127.0.0.1"),
    "address under a wildcard": lambda: _named(ADDRESS, "127.0.0.1", "*.0.0.1"),
    # who signed
    "self-signed": lambda: _serve(_issue(LEAF, None), reason="self-signed certificate"),
    "unknown issuer": _unknown_issuer,
    "unknown issuer that sends its root": _unknown_issuer_with_its_root,
    "issuer with the root's name and another key": _impostor,
    "missing intermediate": _missing_intermediate,
    "altered signature": lambda: _serve(
        _with_broken_signature(_issue(LEAF, _root())), reason="signature failure"
    ),
    "altered name": _altered_name,
    # who may sign, and for what
    "leaf as issuer": _leaf_as_issuer,
    "issuer that is no authority": lambda: _through(
        "invalid ca certificate", replace(AUTHORITY, is_ca=False)
    ),
    "issuer that may not sign certificates": lambda: _through(
        "invalid ca certificate", replace(AUTHORITY, usages=("digital_signature", "crl_sign"))
    ),
    "path too long": lambda: _chain_of_three(path_length=0, reason="path length"),
    "name outside the permitted": lambda: _through(
        "permitted subtree", replace(AUTHORITY, more=_constraints(permitted=x509.DNSName("a.test")))
    ),
    "name among the excluded": lambda: _through(
        "excluded subtree",
        replace(AUTHORITY, more=_constraints(excluded=x509.DNSName("example.com"))),
    ),
    "address outside the permitted": lambda: _through(
        "permitted subtree",
        replace(AUTHORITY, more=_constraints(permitted=x509.IPAddress(ip_network("192.0.2.0/24")))),
        replace(LEAF, sans=(_ip("127.0.0.1"),)),
        host="127.0.0.1",
    ),
    "for clients only": lambda: _leaf_only(
        "certificate purpose", replace(LEAF, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    ),
    "intermediate for code only": lambda: _through(
        "certificate purpose", replace(AUTHORITY, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,))
    ),
    "key not for signatures": lambda: _leaf_only(
        "certificate purpose", replace(LEAF, usages=("crl_sign",))
    ),
    "unknown critical extension": lambda: _leaf_only(
        "unhandled critical extension", replace(LEAF, more=UNKNOWN_CRITICAL)
    ),
    "unknown critical extension of the intermediate": lambda: _through(
        "unhandled critical extension", replace(AUTHORITY, more=UNKNOWN_CRITICAL)
    ),
    # too weak
    "RSA of 1024 bits": lambda: _leaf_only("key too weak", replace(LEAF, key=_rsa_key(1024))),
    "intermediate with RSA of 1024 bits": lambda: _through(
        "key too weak", replace(AUTHORITY, key=_rsa_key(1024))
    ),
    "SHA-1": lambda: _old_hash(SHA1_WITH_RSA, hashes.SHA1()),
    "SHA-1 on the intermediate": _sha1_intermediate,
    "MD5": lambda: _old_hash(MD5_WITH_RSA, hashes.MD5()),
    # taken back
    "revoked": lambda: _with_crl("certificate revoked", "a leaf"),
    "revoked intermediate": lambda: _with_crl("certificate revoked", "an authority"),
    "expired revocation list": lambda: _with_crl("crl has expired", next_update=PAST),
    "forged revocation list": lambda: _with_crl("crl signature failure", forged=True),
    "no revocation list of the issuer": lambda: _with_crl(
        "unable to get certificate crl", from_root_only=True
    ),
    # the connection rather than the certificate
    "TLS 1.0 only": lambda: _leaf_only("version", configure=_only(ssl.TLSVersion.TLSv1)),
    "TLS 1.1 only": lambda: _leaf_only("version", configure=_only(ssl.TLSVersion.TLSv1_1)),
    "no certificate at all": lambda: _leaf_only("handshake failure", configure=_only_anonymous),
    "more certificates than are read": _huge_chain,
}

GOOD: dict[str, Callable[[], Case]] = {
    "exact name": lambda: _leaf_only(None),
    "upper-case name": lambda: _named(None, "example.com", "EXAMPLE.COM"),
    "A-label": lambda: _named(None, "xn--bcher-kva.example", "xn--bcher-kva.example"),
    "several names": lambda: _named(None, "example.com", "a.test", "example.com", "b.test"),
    "a thousand names": lambda: _named(None, "host-999.example.net", *LONG_LIST),
    "wildcard for one label": lambda: _named(None, "www.example.com", "*.example.com"),
    "IPv4 address": lambda: _named(None, "127.0.0.1", _ip("127.0.0.1")),
    "IPv6 address": lambda: _named(None, "::1", _ip("::1")),
    "RSA of 2048 bits": lambda: _leaf_only(None, replace(LEAF, key=_rsa_key(2048))),
    "RSA of 3072 bits, signed with PSS": _pss,
    "P-384": lambda: _leaf_only(None, replace(LEAF, key=ec.generate_private_key(ec.SECP384R1()))),
    "Ed25519": lambda: _leaf_only(None, replace(LEAF, key=ed25519.Ed25519PrivateKey.generate())),
    "no extended key usage": lambda: _leaf_only(None, replace(LEAF, purposes=())),
    "chain of three": lambda: _chain_of_three(path_length=1, reason=None),
    "chain out of order": _out_of_order,
    "chain with its root": lambda: _serve(_issue(LEAF, _root()), _root()),
    "chain with a stranger at its end": lambda: _serve(_issue(LEAF, _root()), _root("a stranger")),
    "cross-signed by an expired root": _cross_signed,
    "root signed with SHA-1": _sha1_root,
    "self-signed and trusted": _trusted_itself,
    "name within the permitted": lambda: _through(
        None, replace(AUTHORITY, more=_constraints(permitted=x509.DNSName("example.com")))
    ),
    "revocation lists without it": lambda: _with_crl(None),
    "TLS 1.2 only": lambda: _leaf_only(None, configure=_only(ssl.TLSVersion.TLSv1_2)),
    "TLS 1.3 only": lambda: _leaf_only(None, configure=_only(ssl.TLSVersion.TLSv1_3)),
}
