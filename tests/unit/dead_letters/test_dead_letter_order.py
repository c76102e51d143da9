"""Which letters a replay takes, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import Record
from eventzr_kafka.dead_letters.journal import Entry, Selection
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Letter
from eventzr_kafka.dead_letters.order import choose_letters, ordering_key, sort_letters
from eventzr_kafka.handlers.options import Ordering


def entry(
    number: int, *, tenant: str = "a", at: tuple[int, int] = (0, 0), error: str = "parked", lane: str = ""
) -> Entry:
    """The letter of record `number`, at a partition and offset of the dead-letter topic."""
    facts = DeadLetterFacts(
        group_id="g",
        handler="h",
        error=error,
        reason="r",
        attempts=1,
        first_failure=1.0,
        last_failure=float(number),
        event_id=f"e{number}",
        event_source="s",
        ordering_key=lane,
    )
    return Entry(Letter(at[0], at[1] or number, Record("orders", 0, number, tenant.encode(), None), facts))


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [each.letter.record.offset for each in entries]


HEAD, *PARKED = [entry(1, error="ValueError"), entry(2), entry(3), entry(4)]


@pytest.mark.parametrize(
    ("selection", "taken", "left_out"),
    [
        (Selection(), [1, 2, 3, 4], []),
        (Selection(error="parked"), [], [(1, 3)]),
        (Selection(error="ValueError"), [1], []),
        (Selection(since=2.0), [], [(1, 3)]),
        (Selection(until=2.0), [1, 2], []),
        (Selection(limit=2), [1, 2], []),
        (Selection(letters=["orders[0]@1", "orders[0]@3"]), [1], [(2, 1)]),
        (Selection(letters=["0@4"]), [], [(1, 1)]),
        (Selection(type="another"), [], []),
        (Selection(tenant="b"), [], []),
    ],
)
def test_letters_behind_open_are_left_out(
    selection: Selection, taken: list[int], left_out: list[tuple[int, int]]
) -> None:
    chosen = choose_letters([HEAD, *PARKED], selection, "tenant")

    assert numbers(chosen.letters) == taken
    assert [(head.letter.record.offset, count) for head, count in chosen.left_out] == left_out


@pytest.mark.parametrize(
    ("ordering", "taken"), [("tenant", [3]), ("subject", [2, 3]), ("partition", []), ("none", [1, 2, 3])]
)
def test_ordering_says_what_waits(ordering: Ordering, taken: list[int]) -> None:
    lane = "orders[0]" if ordering == "partition" else "x"
    letters = [
        entry(0, error="ValueError", lane=lane),
        entry(1, lane=lane),
        entry(2, lane=lane if ordering == "partition" else "y"),
        entry(3, tenant="b", lane=lane),
    ]

    assert numbers(choose_letters(letters, Selection(error="parked"), ordering).letters) == taken


def test_more_partitions_keep_the_order() -> None:
    """The clock of the process that wrote the later letters was behind; they went to a new partition."""
    old = [entry(1, at=(0, 7)), entry(2, at=(0, 8))]
    new = [entry(3, at=(1, 1)), entry(4, at=(1, 2))]
    other = entry(9, tenant="b", at=(1, 3))

    assert numbers(sort_letters([*new, other, *old], "tenant")) == [1, 2, 9, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab")), max_size=12), st.randoms())
def test_partitions_keep_their_order(written: list[tuple[int, str]], random: Random) -> None:
    letters = [entry(n, tenant=tenant, at=(partition, n + 1)) for n, (partition, tenant) in enumerate(written)]
    queues = {partition: [each for each in letters if each.letter.partition == partition] for partition in range(3)}
    given_order: list[Entry] = []
    while any(queues.values()):
        given_order.append(random.choice([queue for queue in queues.values() if queue]).pop(0))

    ordered = sort_letters(given_order, "tenant")

    assert sorted(numbers(ordered)) == list(range(len(letters)))
    for tenant in "ab":
        mine = numbers([each for each in ordered if each.tenant == tenant])
        assert mine == sorted(mine)


def test_letters_of_an_event_share_a_key() -> None:
    first, second = entry(1), entry(1, at=(0, 9))

    assert ordering_key(first, "none") == ordering_key(second, "none")
    assert ordering_key(first, "none") != ordering_key(entry(2), "none")
