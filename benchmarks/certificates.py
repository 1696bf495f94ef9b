"""What the TLS of the benchmarks needs: an origin's certificates, and the authority that signed them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme

__all__ = ["Origin", "make_origin"]

NAMES = 50
"""Addresses that stand for names nobody has asked for yet, 127.0.1.1 and on."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who the origin is.

    Attributes:
        certificates: PEM file of its keys and certificates, as `tls_load.c` reads them.
        authority: PEM file of who signed them.
    """

    certificates: Path
    authority: Path


def make_origin(folder: Path) -> Origin:
    """Makes an authority, and a certificate on P-256 for each address of the origin."""
    origin = Origin(folder / "origin.pem", folder / "origin-ca.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(origin.authority)
    origin.authority.chmod(0o644)
    addresses = ["127.0.0.1", *(f"127.0.1.{number}" for number in range(1, NAMES + 1))]
    for address in addresses:
        # Squid 5 looks for addresses in the common name only.
        leaf = authority.issue_cert(address, common_name=address, key_type=trustme.KeyType.ECDSA)
        leaf.private_key_and_cert_chain_pem.write_to_path(origin.certificates, append=True)
    return origin
