"""Lanes against the rules at their head: order, fairness, limits, bounds."""

from collections import defaultdict
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventzr_kafka.lanes import Lane, Lanes, TenantLanes

Item: TypeAlias = tuple[str, str, int, int]  # tenant, lane, number, bytes


class LanesMachine(RuleBasedStateMachine):
    """Adds, takes, finishes, waits and discards in any order; a list per lane says what must come next."""

    @initialize(limit=st.none() | st.integers(1, 2))
    def begin(self, limit: int | None) -> None:
        self.lanes: Lanes[Item] = TenantLanes(max_items=10, max_bytes=100, tenant_limit=limit)
        self.limit = limit
        self.expected: dict[str, list[Item]] = defaultdict(list)
        self.taken: list[Lane[Item]] = []
        self.waiting: list[Lane[Item]] = []
        self.number = 0

    @rule(tenant=st.sampled_from("abc"), lane=st.sampled_from("12"))
    def add(self, tenant: str, lane: str) -> None:
        self.number += 1
        item = (tenant, tenant + lane, self.number, 3)
        self.lanes.add([tenant], [tenant + lane], [item])
        self.expected[tenant + lane].append(item)

    @precondition(lambda self: self.lanes.ready)
    @rule()
    def take(self) -> None:
        lane = self.lanes.take()
        assert lane is not None
        assert lane not in self.taken
        assert lane not in self.waiting
        assert lane.front == self.expected[lane.front[1]][0]
        self.taken.append(lane)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        lane = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        assert self.expected[lane.front[1]].pop(0) == lane.front
        self.lanes.finish(lane)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def finish_several(self, data: st.DataObject) -> None:
        lane = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        lane.running = data.draw(st.integers(1, len(lane.items)))
        for item in list(lane.items)[: lane.running]:
            assert self.expected[item[1]].pop(0) == item
        self.lanes.finish_all(lane)

    @precondition(lambda self: self.taken)
    @rule()
    def release(self) -> None:
        self.lanes.release(self.taken.pop())

    @precondition(lambda self: self.taken)
    @rule()
    def wait(self) -> None:
        lane = self.taken.pop()
        self.lanes.wait(lane)
        self.waiting.append(lane)

    @precondition(lambda self: self.waiting)
    @rule()
    def resume(self) -> None:
        lane = self.waiting.pop()
        self.lanes.resume(lane, lane.front)

    @rule(tenant=st.sampled_from("abc"))
    def discard(self, tenant: str) -> None:
        running = {lane.front for lane in self.taken}
        dropped = self.lanes.discard(lambda item: item[0] == tenant)
        gone = 0
        for key, items in self.expected.items():
            kept = [item for item in items if item[0] != tenant or item in running]
            gone += len(items) - len(kept)
            self.expected[key] = kept
        self.waiting = [lane for lane in self.waiting if lane.items and lane.waiting]
        assert dropped == gone

    @invariant()
    def counts_are_right(self) -> None:
        total = sum(map(len, self.expected.values()))
        assert (self.lanes.count, self.lanes.bytes) == (total, total * 3)

    @invariant()
    def whatever_may_run_is_offered(self) -> None:
        busy = {lane.key for lane in self.taken + self.waiting}
        running: dict[str, int] = defaultdict(int)
        for lane in self.taken:
            running[lane.front[0]] += 1
        may_run = any(
            items and key not in busy and (self.limit is None or running[key[0]] < self.limit)
            for key, items in self.expected.items()
        )
        assert bool(self.lanes.ready) == may_run


TestLanes = pytest.mark.slow(LanesMachine.TestCase)
TestLanes.settings = settings(max_examples=150, stateful_step_count=40)


class SingleLanesMachine(LanesMachine):
    """The same for lanes that are tenants themselves."""

    @initialize(limit=st.none())
    def begin(self, limit: None) -> None:
        super().begin(limit)
        self.lanes = Lanes(max_items=10, max_bytes=100)


TestSingleLanes = pytest.mark.slow(SingleLanesMachine.TestCase)
TestSingleLanes.settings = TestLanes.settings


def lanes(*, limit: int | None = None) -> Lanes[Item]:
    return TenantLanes(max_items=1_000, max_bytes=10_000, tenant_limit=limit)


@pytest.mark.parametrize("kind", [Lanes, TenantLanes])
@given(backlog=st.integers(1, 500))
def test_a_tenant_with_one_event_waits_one_turn_behind_any_backlog(kind: type[Lanes[Item]], backlog: int) -> None:
    ring = kind(max_items=1_000, max_bytes=1_000)
    for number in range(backlog):
        ring.add(["big"], ["big"], [("big", "big", number, 1)])
    ring.add(["small"], ["small"], [("small", "small", 0, 1)])
    served: list[str] = []
    for _ in range(2):
        lane = ring.take()
        assert lane is not None
        served.append(lane.front[0])
        ring.finish(lane)
    assert "small" in served


def test_the_lanes_of_one_tenant_take_turns_within_its_turn() -> None:
    ring = lanes()
    for lane_key in ("x", "y"):
        for number in range(2):
            ring.add(["a"], [lane_key], [("a", lane_key, number, 1)])
    order: list[tuple[str, int]] = []
    while (lane := ring.take()) is not None:
        order.append(lane.front[1:3])
        ring.finish(lane)
    assert order == [("x", 0), ("y", 0), ("x", 1), ("y", 1)]


def test_a_tenant_limit_leaves_room_for_others() -> None:
    ring = lanes(limit=1)
    for lane_key in ("a1", "a2", "b1"):
        ring.add([lane_key[0]], [lane_key], [(lane_key[0], lane_key, 0, 1)])
    running = [lane.front[0] for lane in (ring.take(), ring.take()) if lane is not None]
    assert sorted(running) == ["a", "b"]
    assert not ring.ready


def test_resuming_a_lane_whose_waiting_item_was_discarded_changes_nothing() -> None:
    ring = lanes()
    first, second = ("a", "a", 0, 1), ("a", "a", 1, 1)
    ring.add(["a"], ["a"], [first])
    ring.add(["a"], ["a"], [second])
    lane = ring.take()
    assert lane is not None
    ring.wait(lane)
    ring.discard(lambda item: item == first)
    assert ring.take() is lane
    ring.resume(lane, first)
    assert not ring.ready


def test_lanes_are_as_full_as_their_items_or_bytes_say() -> None:
    ring: Lanes[Item] = Lanes(max_items=4, max_bytes=100)
    ring.add(["a", "b"], ["a", "b"], [("a", "a", 0, 10), ("b", "b", 1, 1)])
    assert ring.fullness == 0.5
    ring.add(["a"], ["a"], [("a", "a", 2, 79)])
    assert ring.fullness == 0.9
    lane = ring.take()
    assert lane is not None
    ring.finish(lane)
    assert ring.fullness == 0.8


def test_idle_lanes_are_forgotten_beyond_a_bound() -> None:
    ring: Lanes[Item] = Lanes(max_items=100_000, max_bytes=10_000_000)
    for number in range(20_000):
        ring.add([str(number)], [str(number)], [("t", "l", number, 1)])
        lane = ring.take()
        assert lane is not None
        ring.finish(lane)
    assert len(ring._lanes) <= 10_001


def test_what_stands_behind_a_waiting_front_is_dropped_in_order() -> None:
    lanes: Lanes[tuple[str, int]] = Lanes(max_items=9, max_bytes=99)
    lanes.add(["t"] * 3, ["l"] * 3, [("a", 1), ("b", 2), ("c", 3)])
    lane = lanes.take()
    assert lane is not None
    lanes.wait(lane)

    assert lanes.drop_behind(lane) == [("b", 2), ("c", 3)]
    assert (lanes.count, lanes.bytes, lane.front) == (1, 1, ("a", 1))
