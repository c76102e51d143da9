"""Commit metadata against a model that keeps every offset in a set."""

import base64
import random
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka.engine.commit_metadata import (
    MAX_METADATA_BYTES,
    is_of_topic,
    ranges_of,
    read_metadata,
    shorten,
    write_metadata,
)

FINISHED = st.sets(st.integers(1, 400))
LIMITS = st.integers(0, 300)
TOPIC, OTHER = "iGhHNM1ETBuyVXsJ7uWl0w", "9S0yVpJ1Q7uRkS3SYw1cGA"


def packed(kind: str, raw: bytes, topic: str = "") -> str:
    deflate = zlib.compressobj(wbits=-15)
    return f"e2:{topic}:{kind}" + base64.b85encode(deflate.compress(raw) + deflate.flush()).decode()


def first_version(text: str) -> str:
    return "e1:" + base64.b64encode(zlib.compress(text.encode())).decode()


@given(st.integers(0, 10**12), FINISHED, st.sampled_from(["", TOPIC]))
def test_metadata_reads_back(position: int, finished: set[int], topic: str) -> None:
    offsets = {position + offset for offset in finished}
    metadata = write_metadata(position, ranges_of(sorted(offsets)), topic)
    assert read_metadata(position, metadata) == offsets
    assert is_of_topic(metadata, topic)
    assert metadata.isascii()


@given(FINISHED, LIMITS, st.sampled_from(["", TOPIC]))
def test_limit_drops_the_far_end(finished: set[int], limit: int, topic: str) -> None:
    metadata = write_metadata(0, ranges_of(sorted(finished)), topic, limit=limit)
    known = read_metadata(0, metadata)
    assert len(metadata) <= limit
    assert known == {offset for offset in finished if offset <= max(known, default=0)}


@given(FINISHED, LIMITS, st.sampled_from(["", TOPIC]))
def test_shortened_is_as_if_limited(finished: set[int], limit: int, topic: str) -> None:
    whole = write_metadata(7, ranges_of(sorted(offset + 7 for offset in finished)), topic)
    short = shorten(7, whole, limit)
    assert len(short) <= limit
    assert read_metadata(7, short) <= read_metadata(7, whole)
    assert shorten(7, whole, len(whole)) == whole
    assert is_of_topic(short, topic)


def test_text_behind_a_blank_is_cut_last() -> None:
    whole = write_metadata(7, ranges_of(range(9, 4000, 3)), TOPIC) + " x:12,15"
    assert shorten(7, whole, len(whole) - 1).endswith(" x:12,15")
    assert shorten(7, whole, 21).endswith(": x:12,15")
    assert shorten(7, whole, 12) == " x:12,15"
    assert shorten(7, whole, 8) == " x:12,15"
    assert shorten(7, whole, 7) == ""
    assert shorten(7, "e2:abc:xyz", 10) == "e2:abc:xyz"


def test_text_before_a_blank_is_cut_far() -> None:
    chance = random.Random(1)  # noqa: S311 -- to be repeated
    finished = [offset for offset in range(8, 400) if chance.random() < 0.5]
    whole = write_metadata(7, ranges_of(finished), TOPIC) + " x:12,15 y:4"
    short = shorten(7, whole, 60)
    known = read_metadata(7, short.partition(" ")[0])
    assert short.endswith(" x:12,15 y:4")
    assert len(known) > 30
    assert known == {offset for offset in finished if offset <= max(known)}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_24000_events_fit_at_any_share(share: float) -> None:
    chance = random.Random(1)  # noqa: S311 -- to be repeated
    finished = {offset for offset in range(1, 24_000) if chance.random() >= share}
    metadata = write_metadata(0, ranges_of(sorted(finished)), TOPIC)
    assert read_metadata(0, metadata) == finished
    assert len(metadata) <= MAX_METADATA_BYTES


def test_cut_is_near_the_limit() -> None:
    chance = random.Random(1)  # noqa: S311 -- to be repeated
    finished = [offset for offset in range(1, 60_000) if chance.random() < 0.5]
    metadata = write_metadata(0, ranges_of(finished))
    assert MAX_METADATA_BYTES * 0.95 < len(metadata) <= MAX_METADATA_BYTES
    assert 24_000 < max(read_metadata(0, metadata)) < 27_000


def test_stuck_front_takes_few_bytes() -> None:
    metadata = write_metadata(5, [(6, 900_000)])
    assert len(metadata) < 30
    assert read_metadata(5, metadata) == set(range(6, 900_000))


def test_sparse_runs_need_no_bitmap() -> None:
    ranges = [(number * 10_000, number * 10_000 + 9) for number in range(1, 90)]
    metadata = write_metadata(0, ranges)
    assert read_metadata(0, metadata) == {offset for first, after in ranges for offset in range(first, after)}


def test_far_end_of_absurd_range_reruns() -> None:
    assert read_metadata(0, write_metadata(0, [(1, 10_000_000)])) == set(range(1, 1_000_000))
    assert write_metadata(0, [(2_000_000, 2_000_001)]) == ""


def test_nothing_done_needs_no_metadata() -> None:
    assert write_metadata(4, []) == ""
    assert write_metadata(4, [], TOPIC) == f"e2:{zlib.crc32(TOPIC.encode()):08x}:"


def test_recreated_topic_is_another() -> None:
    metadata = write_metadata(4, [(6, 9)], TOPIC)
    assert is_of_topic(metadata, TOPIC)
    assert not is_of_topic(metadata, OTHER)
    assert is_of_topic(metadata + " x:12,15", TOPIC)


@pytest.mark.parametrize("unknown", ["", None, "e1:eJwzVDACAAGIAJU=", "e2::", "another program's"])
def test_nameless_commit_fits_any_topic(unknown: str | None) -> None:
    assert is_of_topic(unknown, TOPIC)
    assert is_of_topic(write_metadata(4, [], TOPIC), "")


def test_first_version_is_read() -> None:
    assert read_metadata(10, first_version("1 2 3 4")) == {11, 12, 16, 17, 18, 19}


@pytest.mark.parametrize("steps", ["1", "1 -2", "3 -1 5 1", "1 2 3", "1 1000001", "1 x"])
def test_damaged_old_version_is_unknown(steps: str) -> None:
    assert read_metadata(0, first_version(steps)) == set()


@pytest.mark.parametrize(
    "metadata",
    [
        packed("r", bytes([1])),
        packed("r", bytes([1, 2, 3])),
        packed("r", bytes([0xFF] * 9)),
        packed("r", b"\x01\xc1\x84\x3d"),  # 1,000,001 offsets
        packed("x", bytes([1, 2])),
        packed("b", b""),
        "e2::",
        "e2:",
        "e2",
        "e2::r",
        "e2::r!",
        "e2::bö",
        "e2:deadbeef:r\x00",
        "e3::" + packed("r", bytes([1, 2]))[4:],
        "e1:eJwzVDACAAGIAJU",
        "e1:" + "A" * 5000,
        first_version("1 2").replace("e1:", "e1:!"),  # not base64
        packed("b", b"\xff" * 10_000_000),
        None,
        "",
    ],
)
def test_damaged_metadata_reruns_events(metadata: str | None) -> None:
    assert len(read_metadata(0, metadata)) in {0, 65_536}  # a bitmap that goes on is cut


@given(
    st.text(max_size=200)
    | st.text(max_size=200).map("e1:".__add__)
    | st.text(max_size=200).map("e2::r".__add__)
    | st.binary(max_size=90).map(lambda raw: packed("r", raw))
    | st.binary(max_size=90).map(lambda raw: packed("b", raw))
    | st.binary(max_size=90).map(lambda raw: f"e1:{raw.hex()}")
)
def test_no_metadata_makes_reading_or_shortening_fail(metadata: str) -> None:
    assert isinstance(read_metadata(5, metadata), set)
    assert len(shorten(5, metadata, 20)) <= 20
    assert isinstance(is_of_topic(metadata, TOPIC), bool)


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_rising_and_apart(offsets: set[int]) -> None:
    ranges = ranges_of(sorted(offsets))
    assert {offset for first, after in ranges for offset in range(first, after)} == offsets
    assert all(after < first for (_, after), (first, _) in pairwise(ranges))
    assert all(first < after for first, after in ranges)


def unpacked(metadata: str) -> tuple[str, bytes]:
    """The letter and the bytes; not compared as text, since each version of zlib packs in its own way."""
    body = metadata.split(":")[2]
    return body[0], zlib.decompress(base64.b85decode(body[1:]), -15)


@pytest.mark.parametrize(
    ("ranges", "steps"),
    [
        ([(6, 9), (12, 17)], [1, 3, 3, 5]),
        ([(5, 6)], [0, 1]),
        ([(5 + 127, 5 + 127 + 128)], [127, 0x80, 1]),
        ([(6, 6 + 300)], [1, 300 & 0x7F | 0x80, 300 >> 7]),
        ([(5 + 16_384, 5 + 16_385)], [0x80, 0x80, 1, 1]),
        ([(5 + 16_383, 5 + 16_384)], [0xFF, 0x7F, 1]),
    ],
)
def test_runs_take_seven_bits_a_byte(ranges: list[tuple[int, int]], steps: list[int]) -> None:
    metadata = write_metadata(5, ranges)
    assert unpacked(metadata) == ("r", bytes(steps))
    assert read_metadata(5, metadata) == {offset for first, after in ranges for offset in range(first, after)}
    assert read_metadata(5, packed("r", bytes(steps))) == read_metadata(5, metadata)


@pytest.mark.parametrize("limit", [30, 45, 60, 90])
def test_bitmap_takes_a_bit_an_offset(limit: int) -> None:
    chance = random.Random(1)  # noqa: S311 -- to be repeated
    finished = {offset for offset in range(1, 400) if chance.random() < 0.5}
    metadata = write_metadata(0, ranges_of(sorted(finished)), limit=limit)
    kind, raw = unpacked(metadata)
    bits = "".join(f"{byte:08b}" for byte in raw)
    reached = max(offset for offset, bit in enumerate(bits) if bit == "1")
    assert kind == "b"
    assert bits[: reached + 1] == "".join("01"[offset in finished] for offset in range(reached + 1))
    assert set(bits[reached + 1 :]) <= {"0"}
    assert read_metadata(0, metadata) == {offset for offset in finished if offset <= reached}
    assert limit - 8 <= len(metadata) <= limit or reached == max(finished)


def test_bitmap_ends_with_the_finished() -> None:
    assert read_metadata(9, packed("b", b"\x40\x01")) == {10, 24}
    assert read_metadata(9, packed("b", b"\x00\x80")) == {17}
    last = 65_535
    assert read_metadata(0, packed("b", bytes(8191) + b"\x01")) == {last}
    assert read_metadata(0, packed("b", bytes(8192) + b"\x80")) == set()
    assert read_metadata(0, packed("b", b"\x40" + bytes(8192))) == {1}


def test_as_many_runs_as_fit_are_written() -> None:
    chance = random.Random(2)  # noqa: S311 -- to be repeated
    ranges, at = list[tuple[int, int]](), 0
    for _ in range(200):
        first = at + chance.randrange(200, 4_000)
        at = first + chance.randrange(1, 100)
        ranges.append((first, at))
    for limit in (60, 200, 500):
        metadata = write_metadata(0, ranges, limit=limit)
        known = ranges_of(sorted(read_metadata(0, metadata)))
        assert unpacked(metadata)[0] == "r"
        assert known == ranges[: len(known)]
        assert limit * 0.88 <= len(metadata) <= limit


def test_only_better_runs_are_tried() -> None:
    ranges = [(number * 100, number * 100 + 1) for number in range(1, 2_100)]
    assert len(ranges_of(sorted(read_metadata(0, write_metadata(0, ranges))))) == 2_048


def test_largest_metadata_is_read() -> None:
    metadata = write_metadata(0, [(1, 3)], TOPIC)
    blank = "e2:" + "0" * (MAX_METADATA_BYTES - len(metadata) + len(metadata.split(":")[1])) + metadata[11:]
    assert len(blank) == MAX_METADATA_BYTES
    assert read_metadata(0, blank) == {1, 2}
    assert read_metadata(0, blank.replace("e2:", "e2:0")) == set()


@pytest.mark.parametrize(("limit", "metadata"), [(11, ""), (12, "e2:2e1e374c:"), (4, ""), (0, "")])
def test_limit_drops_the_topic_last(limit: int, metadata: str) -> None:
    assert write_metadata(0, [(2, 900)], TOPIC, limit=limit) == metadata
    assert shorten(0, write_metadata(0, [(2, 900)], TOPIC), limit) == metadata


def test_position_cuts_its_range() -> None:
    assert read_metadata(5, write_metadata(5, [(6, 1_000_005 + 7)])) == set(range(6, 1_000_005))
    assert write_metadata(5, [(1_000_005, 1_000_009)]) == ""


@pytest.mark.parametrize(
    ("offsets", "ranges"), [([], []), ([3], [(3, 4)]), ([3, 4], [(3, 5)]), ([3, 5, 6, 9], [(3, 4), (5, 7), (9, 10)])]
)
def test_offsets_become_ranges(offsets: list[int], ranges: list[tuple[int, int]]) -> None:
    assert ranges_of(offsets) == ranges


def test_empty_and_largest_steps_are_read() -> None:
    assert read_metadata(0, first_version("0 1")) == {0}
    assert read_metadata(0, first_version("0 1000000")) == set(range(1_000_000))
    assert read_metadata(0, first_version("1 1000000")) == set()
