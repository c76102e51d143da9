"""Paused partitions, by how full the memory is and which partitions fill it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventzr_kafka.engine.backpressure import Backpressure
from eventzr_kafka.kafka.transport import Paused

EVEN: Final[Mapping[int, float]] = {1: 10, 2: 10, 3: 10}


def pauses(pressure: Backpressure, *looks: tuple[float, Mapping[int, float]]) -> list[Paused | None]:
    return [pressure.paused if pressure.update(fullness, lambda: weights) else None for fullness, weights in looks]  # noqa: B023


def test_full_memory_stops_all_until_half() -> None:
    looks = [(fullness, EVEN) for fullness in (0.99, 1.0, 1.2, 0.9, 0.5, 0.49, 0.99)]
    assert pauses(Backpressure(), *looks) == [None, "all", None, None, None, frozenset(), None]


def test_partition_with_half_of_the_memory_pauses_to_a_quarter() -> None:
    looks: list[tuple[float, Mapping[int, float]]] = [
        (0.49, {1: 90, 2: 0}),
        (0.56, {1: 90, 2: 10}),
        (0.5, {1: 50, 2: 50}),
        (0.48, {1: 50, 2: 50}),
    ]
    assert pauses(Backpressure(), *looks) == [None, frozenset({1}), None, frozenset()]


def test_two_partitions_may_stand_still() -> None:
    pressure = Backpressure()
    assert pauses(pressure, (0.6, {1: 9, 2: 0, 3: 1}), (0.95, {1: 4, 2: 6, 3: 1})) == [
        frozenset({1}),
        frozenset({1, 2}),
    ]
    assert pauses(pressure, (1.0, EVEN), (0.4, EVEN)) == ["all", frozenset()]


def test_lost_partition_resumes_rest() -> None:
    assert pauses(Backpressure(), (0.6, {1: 9, 2: 1}), (0.1, {2: 1})) == [frozenset({1}), frozenset()]


def test_partition_with_all_events_makes_room_for_the_others() -> None:
    assert pauses(Backpressure(), (0.6, {1: 9, 2: 0})) == [frozenset({1})]


def test_only_partition_may_fill_it() -> None:
    assert pauses(Backpressure(), (0.9, {1: 9}), (0.0, {})) == [None, None]


def test_little_memory_is_not_weighed() -> None:
    def weigh() -> dict[int, float]:
        raise AssertionError

    assert not Backpressure().update(0.49, weigh)
