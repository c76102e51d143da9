"""What `ParkedKeys` takes from the reader of the dead-letter topic, without a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from eventzr_kafka import Record
from eventzr_kafka.dead_letters.claim import write_claim
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys


class Reader:
    """A `LogReader` that a test drives."""

    def __init__(self) -> None:
        self.catch_up: Callable[[], None] = lambda: None
        self.pass_on: Callable[[Sequence[Record]], None] = lambda _records: None

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        assert topic == "group.dlq"
        assert on_failure is unexpected
        self.pass_on, self.catch_up = on_records, on_caught_up

    async def close(self, timeout: float) -> bool:
        return timeout > 0


def unexpected(error: Exception) -> None:
    pytest.fail(repr(error))


@pytest.fixture
def readers() -> list[Reader]:
    return [Reader(), Reader()]


@pytest.fixture
def keys(readers: list[Reader]) -> ParkedKeys:
    made = iter(readers)
    return ParkedKeys("group", "tenant", lambda: next(made))


async def test_reader_that_was_replaced_ends_no_loading(keys: ParkedKeys, readers: list[Reader]) -> None:
    loaded: list[int] = []
    await keys.load(lambda: loaded.append(1), unexpected)
    await keys.load(lambda: loaded.append(2), unexpected)

    readers[0].catch_up()
    assert (keys.loading, loaded) == (True, [])
    readers[1].catch_up()
    assert (keys.loading, loaded) == (False, [2])


async def test_claim_of_a_replay_parks_nothing(keys: ParkedKeys, readers: list[Reader]) -> None:
    await keys.load(lambda: None, unexpected)
    claim = write_claim("group", "host/1:2:ab")
    readers[0].pass_on([Record(claim.topic, 0, 0, claim.key, claim.value, tuple(claim.headers))])
    assert not keys.contains(claim.key, "")
