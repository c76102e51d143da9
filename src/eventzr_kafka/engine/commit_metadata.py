"""The metadata of a commit: the topic of its offset, and the finished offsets above it.

1. The form is ``e2:TOPIC:FINISHED``. TOPIC is 8 hexadecimal digits made from the topic's id, or nothing if the id is
   unknown. A topic that was deleted and created anew has another id, and an offset of the old one means nothing there.
2. FINISHED is nothing, or a letter and base 85 of deflated bytes. ``r`` is runs: how many offsets to skip, how many
   are finished, and so on from the committed one, seven bits a byte. ``b`` is a bitmap: one bit for each offset, from
   the committed one on. The one that covers more is written.
3. All of it is at most 4,096 bytes, the broker's default; what does not fit at the far end runs again. The topic is
   the last to go.
4. Metadata that is damaged, or of another program, is ignored: its events run again, and nothing raises.
5. ``e1:``, which earlier versions wrote, is read.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

__all__ = ["MAX_METADATA_BYTES", "Ranges", "is_of_topic", "ranges_of", "read_metadata", "shorten", "write_metadata"]

Ranges: TypeAlias = Sequence[tuple[int, int]]  # rising and disjoint: (first, after the last)

MAX_METADATA_BYTES = 4096  # offset.metadata.max.bytes of a Kafka broker
_MAX_RUNS = 2048  # with more runs a bitmap is shorter
_MAX_BITS = 65_536  # offsets that a bitmap covers
_MAX_UNPACKED = 1_000_000  # bytes that damaged metadata may unpack to
_MAX_SPAN = 1_000_000  # offsets that one commit's metadata may cover


def write_metadata(position: int, finished: Ranges, topic_id: str = "", *, limit: int = MAX_METADATA_BYTES) -> str:
    """Write the metadata of one commit; empty if it would name no topic and no offset.

    Args:
        position: The committed offset.
        finished: The finished ranges above it.
        topic_id: As the broker names it; empty where that is not known.
        limit: Bytes of the result, at most.
    """
    topic = f"{zlib.crc32(topic_id.encode()):08x}" if topic_id else ""
    return _write(position, finished, topic, limit)


def shorten(position: int, metadata: str, limit: int) -> str:
    """Cut metadata down to `limit` bytes: first the finished offsets at the far end, last the part behind a blank."""
    if len(metadata) <= limit:
        return metadata
    own, blank, rest = metadata.partition(" ")
    rest = blank + rest if len(blank + rest) <= limit else ""
    finished = ranges_of(sorted(read_metadata(position, own)))
    return _write(position, finished, _topic_of(own), limit - len(rest)) + rest


def is_of_topic(metadata: str | None, topic_id: str) -> bool:
    """Compare a commit's topic with the one of this id; True also if one of them is not known."""
    topic = _topic_of(metadata or "")
    return not topic or not topic_id or topic == f"{zlib.crc32(topic_id.encode()):08x}"


def read_metadata(position: int, metadata: str | None) -> set[int]:
    """Read the finished offsets above the position; none if the metadata is damaged, or of another program."""
    if not metadata or len(metadata) > MAX_METADATA_BYTES:
        return set()
    try:
        return {offset for first, after in _read(metadata) for offset in range(position + first, position + after)}
    except (ValueError, binascii.Error, zlib.error):
        return set()


def ranges_of(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Return the ranges of rising offsets."""
    if not offsets:
        return []
    breaks = [(before + 1, after) for before, after in pairwise(offsets) if after > before + 1]
    firsts = [offsets[0], *(after for _, after in breaks)]
    return list(zip(firsts, [*(before for before, _ in breaks), offsets[-1] + 1], strict=True))


def _write(position: int, finished: Ranges, topic: str, limit: int) -> str:
    head = f"e2:{topic}:"
    if len(head) > limit or not (topic or finished):
        return ""
    steps = [(first - position, min(after - position, _MAX_SPAN)) for first, after in finished]
    steps = [(first, after) for first, after in steps if first < after]
    runs, whole = _fit(min(len(steps), _MAX_RUNS), lambda count: _pack("r", _runs(steps[:count])), limit - len(head))
    body, covered = runs, sum(after - first for first, after in steps[:whole])
    if whole < len(steps):
        flags = _flags(steps)
        bits, reached = _fit(len(flags), lambda count: _pack("b", _bitmap(flags[:count])), limit - len(head))
        body = bits if flags.count(b"1", 0, reached) > covered else runs
    return head + body if topic or body else ""


def _fit(count: int, encode: Callable[[int], str], limit: int) -> tuple[str, int]:
    """Encode about as many as fit; returns the text, and their number."""
    while count > 0:
        text = encode(count)
        if len(text) <= limit:
            return text, count
        count = min(count - 1, count * limit // (len(text) + limit // 50))
    return "", 0


def _pack(kind: str, raw: bytes) -> str:
    deflate = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return kind + base64.b85encode(deflate.compress(raw) + deflate.flush()).decode()


def _runs(steps: Ranges) -> bytes:
    raw = bytearray()
    at = 0
    for first, after in steps:
        for number in (first - at, after - first):
            rest = number
            while rest > 0x7F:
                raw.append(rest & 0x7F | 0x80)
                rest >>= 7
            raw.append(rest)
        at = after
    return bytes(raw)


def _flags(steps: Ranges) -> bytearray:
    """Return one character for each offset: 1 is finished."""
    flags = bytearray(b"0") * min(steps[-1][1], _MAX_BITS)
    for first, after in steps:
        end = min(after, _MAX_BITS)
        flags[first:end] = b"1" * (end - first)  # nothing, beyond the last bit
    return flags


def _bitmap(flags: bytearray) -> bytes:
    size = (len(flags) + 7) // 8
    return int(flags.ljust(size * 8, b"0"), 2).to_bytes(size, "big")


def _topic_of(metadata: str) -> str:
    version, _, rest = metadata.partition(":")
    return rest.partition(":")[0] if version == "e2" else ""


def _read(metadata: str) -> Ranges:
    version, _, rest = metadata.partition(":")
    if version == "e1":
        text = zlib.decompressobj().decompress(base64.b64decode(rest, validate=True), _MAX_UNPACKED)
        return _sum_up([int(step) for step in text.split()])
    body = rest.partition(":")[2] if version == "e2" else ""
    kind, packed = body[:1], base64.b85decode(body[1:])
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _MAX_UNPACKED) if packed else b""
    if kind == "r":
        return _sum_up(_numbers(raw))
    return [run.span() for run in re.finditer("1+", _bits(raw))] if kind == "b" else []


def _bits(raw: bytes) -> str:
    return f"{int.from_bytes(raw[: _MAX_BITS // 8], 'big'):0{8 * min(len(raw), _MAX_BITS // 8)}b}"


def _numbers(raw: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte <= 0x7F:
            numbers.append(number)
            number = shift = 0
    return numbers


def _sum_up(steps: Sequence[int]) -> Ranges:
    if len(steps) % 2 or any(step < 0 for step in steps) or sum(steps) > _MAX_SPAN:
        raise ValueError("not steps")
    edges = list(accumulate(steps))
    return list(zip(edges[::2], edges[1::2], strict=True))
