"""Lists of revocations (RFC 5280 §5): which certificates are on them.

Handshakes leave that to OpenSSL.  Here it is asked again about whoever is connected already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cryptography import x509

__all__ = ["Number", "revoked_in"]

Number = tuple[tuple[str, ...], int]
"""A certificate: the values of its issuer's name, in their order, and its serial number."""

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def revoked_in(pem: bytes) -> Iterator[Number]:
    """The certificates that are revoked by one of the lists in a PEM file.

    Raises:
        ValueError: one of them cannot be read.
    """
    for found in _LIST.finditer(pem):
        crl = x509.load_pem_x509_crl(found[0])
        issuer = tuple(str(attribute.value) for attribute in crl.issuer)
        for one in crl:
            yield issuer, one.serial_number
