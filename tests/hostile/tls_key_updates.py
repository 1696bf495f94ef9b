"""Endless KeyUpdates (RFC 8446 §4.6.3), made by hand: no TLS library sends more than it must."""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

__all__ = ["key_updates"]

_SIZES = {"TLS_AES_128_GCM_SHA256": (16, "sha256"), "TLS_AES_256_GCM_SHA384": (32, "sha384")}
_CHACHA = "TLS_CHACHA20_POLY1305_SHA256"


def _expand_label(secret: bytes, label: bytes, size: int, algorithm: str) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1), of one block at most."""
    info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
    return hmac.digest(secret, info + b"\x01", algorithm)[:size]


def key_updates(key_log: Path, cipher: str, count: int, *, asks: bool, sent: int = 0) -> bytes:
    """`count` KeyUpdates of a client, in records of their own.

    Args:
        key_log: with the secrets of one connection.
        cipher: what was agreed on.
        count: how many.
        asks: whether each asks for one in return.
        sent: records of application data it has sent before.
    """
    (secret,) = (
        bytes.fromhex(line.split()[2])
        for line in key_log.read_text().splitlines()
        if line.startswith("CLIENT_TRAFFIC_SECRET_0")
    )
    size, algorithm = (32, "sha256") if cipher == _CHACHA else _SIZES[cipher]
    aead = ChaCha20Poly1305 if cipher == _CHACHA else AESGCM
    # update_requested or not, and the type of what is inside the record
    message = bytes((24, 0, 0, 1, int(asks), 22))
    header = bytes((23, 3, 3, 0, len(message) + 16))
    records = []
    for _ in range(count):
        key = _expand_label(secret, b"key", size, algorithm)
        iv = _expand_label(secret, b"iv", 12, algorithm)
        nonce = (int.from_bytes(iv, "big") ^ sent).to_bytes(12, "big")
        records.append(header + aead(key).encrypt(nonce, message, header))
        sent = 0
        secret = _expand_label(secret, b"traffic upd", len(secret), algorithm)
    return b"".join(records)
