"""The CA and its leaves, judged by clients that are not ours: stdlib `ssl` and the openssl command."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wsproxy.protocol.x509 import (
    Authority,
    create_authority,
    describe,
    fingerprint,
    load_authority,
    mint,
    new_leaf_key,
)

# OpenSSL verifies by the real clock.
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY = new_leaf_key()
LONG = f"{'x' * 50}.{'y' * 50}.example.com"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
RSA = rsa.generate_private_key(65537, 2048)

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here")


def authority(*permitted: str) -> Authority:
    return load_authority(*create_authority("test CA", now=NOW, permitted=permitted), now=NOW)


def pem(key: Key, password: bytes | None = None) -> bytes:
    secret = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)


def leaf_of(certificate: bytes) -> x509.Certificate:
    (leaf,) = x509.load_pem_x509_certificates(certificate)
    return leaf


def foreign(
    key: Key,
    *extensions: x509.ExtensionType,
    by: Authority | None = None,
    start: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
) -> bytes:
    """A certificate that this project did not make, signed with its own key or by another CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"foreign {id(key)}")])
    signer: Key = by.key if by else key
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by.certificate.subject if by else name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
        .add_extension(issuer, critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(Encoding.PEM)


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, signs, signs, False, False)


CA = x509.BasicConstraints(ca=True, path_length=None)
NO_CA = x509.BasicConstraints(ca=False, path_length=None)

# ------------------------------------------------------------------ handshakes

Shake = Callable[..., str]


@pytest.fixture
def shake(tmp_path: Path) -> Shake:
    """A TLS handshake in memory; the verdict of a client that trusts the CA alone."""

    def shake(ca: Authority, leaf: bytes, host: str, *, trusted: bytes = b"") -> str:
        file = tmp_path / "server.pem"
        file.write_bytes(leaf + ca.chain_pem + pem(KEY))
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(file)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.load_verify_locations(cadata=(trusted or ca.chain_pem).decode())
        client_side.verify_flags |= ssl.VERIFY_X509_STRICT
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_side.wrap_bio(down, up, server_hostname=host)
        server = server_side.wrap_bio(up, down, server_side=True)
        try:
            for end in (client, server, client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        return f"{client.version()} {client.getpeercert() is not None}"

    return shake


TRUSTED = "TLSv1.3 True"


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost",
        "a_b._c.example.com",
        "xn--bcher-kva.example",
        "x" * 60 + ".com",
        "x" * 61 + ".com",
        LONG,
        ".".join(["x" * 61] * 4),
        "192.0.2.1",
        "2001:db8::1",
        "::ffff:192.0.2.1",
    ],
)
def test_a_strict_client_that_trusts_the_ca_trusts_the_leaf(shake: Shake, host: str) -> None:
    ca = authority()
    leaf = mint(ca, host, key=KEY, now=NOW)
    assert shake(ca, leaf, host) == TRUSTED


@pytest.mark.parametrize(
    ("minted", "asked"),
    [
        ("example.com", "www.example.com"),
        ("www.example.com", "example.com"),
        ("a_b.example.com", "a-b.example.com"),
        (LONG, "z" + LONG[1:]),
    ],
)
def test_a_leaf_is_good_for_its_own_name_only(shake: Shake, minted: str, asked: str) -> None:
    ca = authority()
    verdict = shake(ca, mint(ca, minted, key=KEY, now=NOW), asked)
    assert verdict == f"Hostname mismatch, certificate is not valid for '{asked}'."


@pytest.mark.parametrize(
    ("minted", "asked"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("example.com", "192.0.2.1"),
    ],
)
def test_a_leaf_is_good_for_its_own_address_only(shake: Shake, minted: str, asked: str) -> None:
    ca = authority()
    verdict = shake(ca, mint(ca, minted, key=KEY, now=NOW), asked)
    assert verdict == f"IP address mismatch, certificate is not valid for '{asked}'."


def test_another_ca_of_the_same_name_is_not_trusted(shake: Shake) -> None:
    ca = authority()
    leaf = mint(ca, "example.com", key=KEY, now=NOW)
    verdict = shake(ca, leaf, "example.com", trusted=authority().chain_pem)
    # Found by its key identifier, not by its name: the issuer is not even considered.
    assert verdict in {
        "self-signed certificate in certificate chain",
        "self signed certificate in certificate chain",
    }


def test_a_leaf_cannot_sign(shake: Shake) -> None:
    ca = authority()
    issuer = leaf_of(mint(ca, "example.com", key=KEY, now=NOW))
    false = Authority(issuer, KEY, issuer.public_bytes(Encoding.PEM) + ca.chain_pem)
    verdict = shake(
        false, mint(false, "a.example.com", key=KEY, now=NOW), "a.example.com", trusted=ca.chain_pem
    )
    assert verdict.startswith("invalid CA certificate")


def test_a_ca_made_here_cannot_make_another(shake: Shake) -> None:
    ca, key = authority(), new_leaf_key()
    below = foreign(key, CA, usage(signs=True), by=ca)
    second = load_authority(below + ca.chain_pem, pem(key), now=NOW)
    leaf = mint(second, "example.com", key=KEY, now=NOW)
    verdict = shake(second, leaf, "example.com", trusted=ca.chain_pem)
    assert verdict == "path length constraint exceeded"


@pytest.mark.parametrize(
    "key", [RSA, ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "P-384"]
)
def test_an_intermediate_brings_what_stands_behind_it(shake: Shake, key: Key) -> None:
    root_key = new_leaf_key()
    anchor = foreign(root_key, CA, usage(signs=True))
    root = load_authority(anchor, pem(root_key), now=NOW)
    middle = foreign(key, CA, usage(signs=True), by=root)
    below = load_authority(middle + pem(key) + b"written by hand\n" + anchor, pem(key), now=NOW)

    assert below.chain_pem == middle + anchor
    leaf = mint(below, "example.com", key=KEY, now=NOW)
    assert shake(below, leaf, "example.com", trusted=anchor) == TRUSTED


@pytest.mark.parametrize(
    ("permitted", "host", "verdict"),
    [
        (["example.com"], "example.com", TRUSTED),
        (["example.com"], "a.b.example.com", TRUSTED),
        (["Example.COM."], "example.com", TRUSTED),
        (["example.com"], "_sip.example.com", TRUSTED),
        (["example.com"], LONG, TRUSTED),
        (["example.com"], "badexample.com", "permitted subtree violation"),
        (["example.com"], "example.com.evil.net", "permitted subtree violation"),
        (["www.example.com"], "example.com", "permitted subtree violation"),
        (["example.com"], LONG.replace("com", "net"), "permitted subtree violation"),
        (["example.com", "corp"], "git.corp", TRUSTED),
        # A kind that nothing is permitted of is refused as a whole.
        (["example.com"], "192.0.2.1", "excluded subtree violation"),
        (["example.com"], "2001:db8::1", "excluded subtree violation"),
        (["192.0.2.0/24"], "example.com", "excluded subtree violation"),
        (["192.0.2.0/24"], "192.0.2.1", TRUSTED),
        (["192.0.2.0/24"], "192.0.3.1", "permitted subtree violation"),
        (["192.0.2.7"], "192.0.2.7", TRUSTED),
        (["192.0.2.7"], "192.0.2.8", "permitted subtree violation"),
        (["192.0.2.0/24"], "2001:db8::1", "permitted subtree violation"),
        (["192.0.2.0/24"], "::ffff:192.0.2.1", "permitted subtree violation"),
        (["2001:db8::/32"], "2001:db8::1", TRUSTED),
        (["2001:db8::/32"], "2001:db9::1", "permitted subtree violation"),
        # The common name of an address would be held against the names: there is none.
        (["example.com", "192.0.2.0/24"], "192.0.2.1", TRUSTED),
        (["example.com", "192.0.2.0/24"], "example.com", TRUSTED),
        (["example.com", "192.0.2.0/24"], "example.net", "permitted subtree violation"),
    ],
)
def test_what_a_ca_is_limited_to_holds(
    shake: Shake, permitted: list[str], host: str, verdict: str
) -> None:
    ca = authority(*permitted)
    assert shake(ca, mint(ca, host, key=KEY, now=NOW), host) == verdict


# ------------------------------------------------------------------ openssl


def run_openssl(*arguments: str | Path) -> tuple[int, str]:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


@openssl
@pytest.mark.parametrize(
    ("option", "host"),
    [
        ("-verify_hostname", "example.com"),
        ("-verify_hostname", LONG),
        ("-verify_ip", "192.0.2.1"),
        ("-verify_ip", "2001:db8::1"),
    ],
)
def test_the_openssl_command_verifies_a_leaf(tmp_path: Path, option: str, host: str) -> None:
    ca = authority("example.com", "192.0.2.0/24", "2001:db8::/32")
    (tmp_path / "ca.pem").write_bytes(ca.chain_pem)
    (tmp_path / "leaf.pem").write_bytes(mint(ca, host, key=KEY, now=NOW))
    status, output = run_openssl(
        *("verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver"),
        *("-CAfile", tmp_path / "ca.pem", option, host, tmp_path / "leaf.pem"),
    )
    assert (status, output) == (0, f"{tmp_path / 'leaf.pem'}: OK\n")


@openssl
def test_the_openssl_command_reads_what_was_meant(tmp_path: Path) -> None:
    ca = authority("example.com", "10.0.0.0/8")
    (tmp_path / "ca.pem").write_bytes(ca.chain_pem)
    (tmp_path / "leaf.pem").write_bytes(mint(ca, LONG, key=KEY, now=NOW))

    _, text = run_openssl("x509", "-noout", "-text", "-in", tmp_path / "ca.pem")
    words = " ".join(text.split())
    assert "Basic Constraints: critical CA:TRUE, pathlen:0" in words
    assert "Key Usage: critical Certificate Sign, CRL Sign" in words
    assert "Name Constraints: critical Permitted: DNS:example.com IP:10.0.0.0/255.0.0.0" in words
    assert "Excluded" not in words
    assert "ecdsa-with-SHA256" in words

    _, text = run_openssl("x509", "-noout", "-text", "-in", tmp_path / "leaf.pem")
    words = " ".join(text.split())
    assert f"Subject Alternative Name: critical DNS:{LONG}" in words
    assert "Basic Constraints: critical CA:FALSE" in words
    assert "Key Usage: critical Digital Signature" in words
    assert "Extended Key Usage: TLS Web Server Authentication" in words


# ------------------------------------------------------------------ the CA


def test_a_ca_is_valid_from_a_day_ago_for_its_days() -> None:
    certificate = leaf_of(create_authority("x", now=NOW, days=3)[0])
    assert certificate.not_valid_before_utc == NOW - DAY
    assert certificate.not_valid_after_utc == NOW + 3 * DAY
    assert create_authority("x", now=NOW, days=36500)


def test_a_ca_has_the_name_it_was_given_and_its_own_serial_and_key() -> None:
    first, second = (create_authority("Prüf-CA, of us", now=NOW) for _ in range(2))
    one, two = leaf_of(first[0]), leaf_of(second[0])
    assert one.subject == one.issuer
    assert one.subject.rfc4514_string() == "CN=Prüf-CA\\, of us"
    assert one.serial_number != two.serial_number
    assert first[1].startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert first[1] != second[1]


def test_a_ca_without_limits_has_no_name_constraints() -> None:
    with pytest.raises(x509.ExtensionNotFound):
        authority().certificate.extensions.get_extension_for_class(x509.NameConstraints)


def test_the_kind_that_is_not_permitted_is_excluded() -> None:
    def excluded(*permitted: str) -> list[object]:
        extensions = authority(*permitted).certificate.extensions
        limits = extensions.get_extension_for_class(x509.NameConstraints)
        assert limits.critical
        return [name.value for name in limits.value.excluded_subtrees or ()]

    assert excluded("example.com") == [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert excluded("10.0.0.0/8") == [""]
    assert excluded("10.0.0.0/8", "example.com") == []


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x1b[31m"])
def test_a_name_no_certificate_can_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^the CA's name must be 1 to 64 printable characters$"):
        create_authority(name, now=NOW)


@pytest.mark.parametrize("days", [0, -1, 36501, 10**9])
def test_a_number_of_days_beyond_reason_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match=r"^the CA must be valid for 1 to 36500 days$"):
        create_authority("x", now=NOW, days=days)


@pytest.mark.parametrize(
    "permitted",
    [
        *("", "*.example.com", ".example.com", "https://example.com", "example.com:443"),
        *("10.0.0.1/8", "10.0.0", "1", "bücher.example", "a\udcff", "a..b", "2001:db8::/129"),
    ],
)
def test_what_cannot_be_permitted_is_refused(permitted: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot permit .*; write a name like") as caught:
        create_authority("x", now=NOW, permitted=["example.com", permitted])
    assert repr(permitted) in str(caught.value)


# ------------------------------------------------------------------ loading


def test_what_was_made_can_be_loaded_and_its_key_is_never_shown() -> None:
    certificate, key = create_authority("x", now=NOW)
    loaded = load_authority(certificate, key, now=NOW)
    assert loaded.chain_pem == certificate
    assert pem(loaded.key) == key
    assert "key" not in repr(loaded).lower()


def test_one_file_may_hold_certificate_and_key() -> None:
    certificate, key = create_authority("x", now=NOW)
    for both in (certificate + key, key + certificate):
        assert load_authority(both, both, now=NOW).chain_pem == certificate


def test_keys_of_older_forms_are_read() -> None:
    for key in (RSA, KEY):
        old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        # As `openssl ecparam -genkey` writes them.
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        loaded = load_authority(foreign(key, CA), parameters + old, now=NOW)
        assert pem(loaded.key) == pem(key)


def test_a_ca_without_key_usage_may_sign_anything() -> None:
    # RFC 5280 §4.2.1.3 asks CAs for it, but its absence restricts nothing.
    assert pem(load_authority(foreign(RSA, CA), pem(RSA), now=NOW).key) == pem(RSA)


WEAK = rsa.generate_private_key(65537, 1024)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
ODD_CURVE = ec.generate_private_key(ec.SECP256K1())
GOOD = foreign(KEY, CA, usage(signs=True))
NOT_READ = "no PEM certificate ('-----BEGIN CERTIFICATE-----') to read"


def broken(certificate: bytes, old: bytes, new: bytes) -> bytes:
    """The certificate with octets of its DER replaced."""
    der = leaf_of(certificate).public_bytes(Encoding.DER)
    assert der.count(old) == 1
    body = ssl.DER_cert_to_PEM_cert(der.replace(old, new))
    return body.encode()


NO_KEY = "the CA key is no PEM private key that can be read"
NO_KIND = "the CA key is neither RSA nor ECDSA on P-256, P-384 or P-521"
OTHERS = "the CA key does not belong to the (first) certificate in the CA's file"
NOT_A_CA = "the CA certificate is not one of a CA: BasicConstraints lacks CA:TRUE"
NEXT = NOW + timedelta(seconds=1)

UNUSABLE = {
    "nothing": (b"", pem(KEY), NOT_READ),
    "garbage": (b"\xff\x00 nothing", pem(KEY), NOT_READ),
    "a key for a certificate": (pem(KEY), pem(KEY), NOT_READ),
    "DER": (leaf_of(GOOD).public_bytes(Encoding.DER), pem(KEY), NOT_READ),
    "not ASN.1": (GOOD.replace(b"\nM", b"\nN", 1), pem(KEY), NOT_READ),
    "cut": (GOOD[:200], pem(KEY), NOT_READ),
    # basicConstraints becomes a second keyUsage.
    "an extension twice": (broken(GOOD, b"\x55\x1d\x13", b"\x55\x1d\x0f"), pem(KEY), NOT_READ),
    "no such curve": (
        broken(GOOD, b"\xce\x3d\x03\x01\x07", b"\xce\x3d\x03\x01\x7f"),
        pem(KEY),
        NOT_READ,
    ),
    "no key": (GOOD, b"", NO_KEY),
    "a certificate for a key": (GOOD, GOOD, NO_KEY),
    "an unknown form": (GOOD, pem(KEY, b"secret").replace(b"ENCRYPTED", b"UNKNOWN"), NO_KEY),
    "a cut key": (GOOD, pem(KEY)[:100], NO_KEY),
    "encrypted": (
        *(GOOD, pem(KEY, b"secret")),
        "the CA key is encrypted; decrypt it with 'openssl pkey'",
    ),
    "weak": (foreign(WEAK, CA), pem(WEAK), "the CA key is RSA of 1024 bits, fewer than 2048"),
    "Ed25519": (foreign(EDWARDS, CA), pem(EDWARDS), NO_KIND),
    "a curve that browsers do not know": (foreign(ODD_CURVE, CA), pem(ODD_CURVE), NO_KIND),
    "the key of another": (GOOD, pem(RSA), OTHERS),
    "the key of the second": (GOOD + foreign(RSA, CA), pem(RSA), OTHERS),
    "no BasicConstraints": (foreign(KEY), pem(KEY), NOT_A_CA),
    "no CA": (foreign(KEY, NO_CA), pem(KEY), NOT_A_CA),
    "no CA, but may sign": (foreign(KEY, usage(signs=True)), pem(KEY), NOT_A_CA),
    "may not sign": (
        *(foreign(KEY, CA, usage(signs=False)), pem(KEY)),
        "the CA certificate may not sign others: KeyUsage lacks keyCertSign",
    ),
    "expired": (
        *(foreign(KEY, CA, end=NOW), pem(KEY)),
        f"the CA certificate expired on {NOW:%Y-%m-%d}; make one with 'wsproxy ca init'",
    ),
    "not yet valid": (
        *(foreign(KEY, CA, start=NEXT), pem(KEY)),
        f"the CA certificate is valid from {NEXT:%Y-%m-%d} on; is the clock right?",
    ),
}


@pytest.mark.parametrize(("certificate", "key", "problem"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_ca_that_is_of_no_use_is_refused_with_the_reason(
    certificate: bytes, key: bytes, problem: str
) -> None:
    with pytest.raises(ValueError) as caught:
        load_authority(certificate, key, now=NOW)
    assert str(caught.value) == problem


def test_a_ca_is_valid_up_to_its_last_second() -> None:
    certificate = foreign(KEY, CA, start=NOW, end=NOW + timedelta(seconds=1))
    assert load_authority(certificate, pem(KEY), now=NOW).chain_pem == certificate


# ------------------------------------------------------------------ leaves


@pytest.mark.parametrize(
    ("host", "common_name", "alternative"),
    [
        ("example.com", "example.com", "example.com"),
        ("Example.COM.", "example.com", "example.com"),
        ("x" * 60 + ".com", "x" * 60 + ".com", "x" * 60 + ".com"),
        ("x" * 61 + ".com", None, "x" * 61 + ".com"),
        ("192.0.2.1", None, ip_address("192.0.2.1")),
        ("2001:db8::1", None, ip_address("2001:db8::1")),
    ],
)
def test_the_alternative_name_is_critical_only_where_the_subject_is_empty(
    host: str, common_name: str | None, alternative: object
) -> None:
    leaf = leaf_of(mint(authority(), host, key=KEY, now=NOW))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [name.value for name in names.value] == [alternative]
    assert [attribute.value for attribute in leaf.subject] == ([common_name] if common_name else [])
    assert names.critical is (common_name is None)


def test_a_leaf_says_what_it_is_for_and_who_signed_it() -> None:
    ca = authority()
    leaf = leaf_of(mint(ca, "example.com", key=KEY, now=NOW))
    values = {type(each.value): each for each in leaf.extensions}
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key())
    assert set(values) == {
        *(x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage),
        *(x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier),
    }
    assert {kind for kind, each in values.items() if each.critical} == {
        *(x509.BasicConstraints, x509.KeyUsage)
    }
    assert values[x509.KeyUsage].value == usage(signs=False)
    assert values[x509.BasicConstraints].value == NO_CA
    assert list(values[x509.ExtendedKeyUsage].value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert values[x509.AuthorityKeyIdentifier].value.key_identifier == identifier.key_identifier
    assert leaf.issuer == ca.certificate.subject
    assert leaf.public_key() == KEY.public_key()
    assert isinstance(leaf.signature_hash_algorithm, hashes.SHA256)


def test_a_ca_that_does_not_name_its_key_is_named_by_it() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])
    bare = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RSA.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(CA, critical=True)
        .sign(RSA, hashes.SHA256())
    )
    ca = load_authority(bare.public_bytes(Encoding.PEM), pem(RSA), now=NOW)
    leaf = leaf_of(mint(ca, "example.com", key=KEY, now=NOW))
    by = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert by == x509.AuthorityKeyIdentifier.from_issuer_public_key(RSA.public_key())
    leaf.verify_directly_issued_by(bare)


def test_serials_are_random_and_of_128_bits() -> None:
    ca = authority()
    serials = {leaf_of(mint(ca, "a.example", key=KEY, now=NOW)).serial_number for _ in range(64)}
    assert len(serials) == 64
    # By chance, once in 2**64.
    assert max(serials) >= 2**127
    assert max(serials) < 2**128


def test_a_leaf_begins_before_now_for_clocks_that_are_wrong() -> None:
    key = RSA
    certificate = foreign(key, CA, start=NOW - 30 * DAY, end=NOW + 30 * DAY)
    ca = load_authority(certificate, pem(key), now=NOW)

    def validity(now: datetime, days: int = 7) -> tuple[datetime, datetime]:
        leaf = leaf_of(mint(ca, "example.com", key=KEY, now=now, days=days))
        return leaf.not_valid_before_utc, leaf.not_valid_after_utc

    assert validity(NOW) == (NOW - 2 * DAY, NOW + 7 * DAY)
    assert validity(NOW, 1) == (NOW - 2 * DAY, NOW + DAY)
    assert validity(NOW, 90) == (NOW - 2 * DAY, NOW + 30 * DAY)
    assert validity(NOW - 29 * DAY) == (NOW - 30 * DAY, NOW - 22 * DAY)
    last = NOW + 30 * DAY - timedelta(seconds=1)
    assert validity(last) == (last - 2 * DAY, NOW + 30 * DAY)
    assert validity(NOW + timedelta(microseconds=999_999))[1] == NOW + 7 * DAY


def test_a_ca_that_expired_while_it_was_in_use_signs_nothing() -> None:
    ca = load_authority(GOOD, pem(KEY), now=NOW)
    with pytest.raises(ValueError, match=r"^the CA certificate expired on "):
        mint(ca, "example.com", key=KEY, now=NOW + DAY)


@pytest.mark.parametrize(
    "host",
    [
        *("", "*", "*.com", "*.example.com", "a b", "a\0.com", "bücher.example", "a\udcff", "."),
        *("example.com:443", "[2001:db8::1]", "fe80::1%eth0", "fe80::1%25eth0", "0177.0.0.1"),
        *("127.1", "2130706433", "x" * 64 + ".com", "a" * 300, "-a.com", "user@example.com"),
    ],
)
def test_what_is_no_host_gets_no_leaf(host: str) -> None:
    with pytest.raises(ValueError, match=r"^no leaf for "):
        mint(authority(), host, key=KEY, now=NOW)


# ------------------------------------------------------------------ words about it


def test_a_certificate_is_described() -> None:
    ca = authority("example.com", "10.0.0.0/8")
    der = ca.certificate.public_bytes(Encoding.DER)
    assert describe(ca.chain_pem) == {
        "subject": "CN=test CA",
        "serial": f"{ca.certificate.serial_number:x}",
        "not_before": (NOW - DAY).isoformat(),
        "not_after": (NOW + 3650 * DAY).isoformat(),
        "fingerprint_sha256": fingerprint(ca.chain_pem),
        "spki_sha256": describe(ca.chain_pem)["spki_sha256"],
        "permitted": ["example.com", "10.0.0.0/8"],
    }
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    assert bytes.fromhex(fingerprint(ca.chain_pem).replace(":", " ")) == digest.finalize()
    assert describe(authority().chain_pem)["permitted"] == []
    # Of several the first.
    assert describe(GOOD + ca.chain_pem)["fingerprint_sha256"] == fingerprint(GOOD)


@openssl
def test_the_openssl_command_gives_the_same_fingerprints(tmp_path: Path) -> None:
    file, key = tmp_path / "ca.pem", tmp_path / "public.der"
    file.write_bytes(GOOD)
    _, text = run_openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", file)
    assert text.partition("=")[2] == f"{fingerprint(GOOD)}\n"
    _, public = run_openssl("x509", "-noout", "-pubkey", "-in", file)
    (tmp_path / "public.pem").write_text(public)
    run_openssl("pkey", "-pubin", "-in", tmp_path / "public.pem", "-outform", "DER", "-out", key)
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-binary", str(key)], capture_output=True, check=True
    ).stdout
    shown = describe(GOOD)["spki_sha256"]
    assert isinstance(shown, str)
    assert base64.b64decode(shown) == digest


@pytest.mark.parametrize("read", [fingerprint, describe])
def test_what_is_no_certificate_cannot_be_described(read: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match=r"^no PEM certificate "):
        read(pem(KEY))
