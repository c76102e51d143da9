"""Who holds the claim of a replay: one answer for all who read the partition."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import Record
from eventzr_kafka.dead_letters.claim import Claim, find_holder, read_claim, write_claim
from eventzr_kafka.dead_letters.letter import read_letter, read_note


def claim(owner: str, at: int, *, over: int | None = None, released: bool = False, partition: int = 0) -> Claim:
    place = None if over is None else (partition, over)
    return Claim(owner=owner, place=(partition, at), over=place, released=released)


def holder(*claims: Claim) -> str | None:
    found = find_holder(claims, 0)
    return None if found is None else found.owner


def test_claim_reads_back() -> None:
    written = write_claim("g", "host/1:2:ab", over=(3, 17), released=False)
    record = Record(written.topic, 5, 9, written.key, written.value, tuple(written.headers), 42)

    assert read_claim(record) == Claim(owner="host/1:2:ab", place=(5, 9), over=(3, 17), timestamp=42)
    assert (read_note(record), read_letter(record)) == (None, None)
    assert read_claim(record._replace(key=b"tenant")) is None
    assert read_claim(record._replace(value=b"")) is None


def test_record_of_a_claim_without_its_headers_is_not_a_claim() -> None:
    written = write_claim("g", "host/1:2:ab")
    assert read_claim(Record(written.topic, 5, 9, written.key, None, (), 42)) is None


@pytest.mark.parametrize("over", ["9" * 5_000 + "@1", "1@" + "9" * 5_000, "1@", "@", "-1@2", "\u0661@2"])
def test_claim_without_place_is_plain(over: str) -> None:
    written = write_claim("g", "host/1:2:ab")
    headers = [(name, over.encode() if name.endswith("over") else value) for name, value in written.headers]
    record = Record(written.topic, 5, 9, written.key, written.value, tuple(headers), 42)

    assert read_claim(record) == Claim(owner="host/1:2:ab", place=(5, 9), timestamp=42)


def test_first_claim_holds_until_released() -> None:
    claims = [claim("a", 0), claim("b", 1), claim("b", 2, released=True), claim("a", 3)]

    assert holder(*claims) == "a"
    assert holder(*claims, claim("a", 4, released=True)) is None
    assert holder(*claims, claim("a", 4, released=True), claim("b", 5)) == "b"


def test_silent_holder_is_taken_over() -> None:
    assert holder(claim("a", 0), claim("a", 1), claim("b", 2, over=1)) == "b"
    assert holder(claim("a", 0), claim("a", 1), claim("b", 2, over=0)) == "a"
    assert holder(claim("a", 0), claim("b", 1, over=0), claim("c", 2, over=0), claim("a", 3)) == "b"


def test_claims_elsewhere_are_ignored() -> None:
    assert holder(claim("a", 0, partition=1), claim("b", 1)) == "b"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 9)), max_size=10), st.randoms())
def test_claims_are_judged_in_log_order(steps: list[tuple[str, bool, int]], random: Random) -> None:
    claims = [claim(owner, at, over=over, released=released) for at, (owner, released, over) in enumerate(steps)]
    shuffled = list(claims)
    random.shuffle(shuffled)

    assert find_holder(shuffled, 0) == find_holder(claims, 0)
