"""murmur2, by which Java, JavaScript and librdkafka's ``murmur2_random`` choose the partition of a key."""

from __future__ import annotations

__all__ = ["murmur2", "partition_of"]

_SEED = 0x9747B28C
_M = 0x5BD1E995
_32_BITS = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Choose the partition of a key; an empty key is a key too."""
    return (murmur2(key) & _POSITIVE) % partitions


def murmur2(data: bytes) -> int:
    """Hash bytes to an unsigned number of 32 bits."""
    whole = len(data) & ~3
    digest = _SEED ^ len(data)
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _M & _32_BITS
        word = (word ^ word >> 24) * _M & _32_BITS
        digest = digest * _M & _32_BITS ^ word
    if data[whole:]:
        digest = (digest ^ int.from_bytes(data[whole:], "little")) * _M & _32_BITS
    digest = (digest ^ digest >> 13) * _M & _32_BITS
    return digest ^ digest >> 15
