"""Compresses messages the way an endpoint does (RFC 7692)."""

from __future__ import annotations

import zlib

__all__ = ["compressed", "compressor"]


def compressor(bits: int = 15) -> zlib._Compress:
    return zlib.compressobj(wbits=-bits)


def compressed(message: bytes, context: zlib._Compress) -> bytes:
    """RFC 7692 §7.2.1: the four octets at the end are left out."""
    return (context.compress(message) + context.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )
