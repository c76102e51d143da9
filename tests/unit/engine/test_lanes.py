"""Lanes against the rules at their head: order, fairness, limits, bounds."""

from collections import defaultdict
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventzr_kafka.engine import lanes as lanes_module
from eventzr_kafka.engine.lanes import Lane, Lanes, TenantLanes

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
TestLanes.settings = settings(stateful_step_count=40)


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
def test_lone_event_waits_one_turn(kind: type[Lanes[Item]], backlog: int) -> None:
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


def test_lanes_of_a_tenant_take_turns() -> None:
    ring = lanes()
    for lane_key in ("x", "y"):
        for number in range(2):
            ring.add(["a"], [lane_key], [("a", lane_key, number, 1)])
    order: list[tuple[str, int]] = []
    while (lane := ring.take()) is not None:
        order.append(lane.front[1:3])
        ring.finish(lane)
    assert order == [("x", 0), ("y", 0), ("x", 1), ("y", 1)]


def test_tenant_limit_leaves_room() -> None:
    ring = lanes(limit=1)
    for lane_key in ("a1", "a2", "b1"):
        ring.add([lane_key[0]], [lane_key], [(lane_key[0], lane_key, 0, 1)])
    running = [lane.front[0] for lane in (ring.take(), ring.take()) if lane is not None]
    assert sorted(running) == ["a", "b"]
    assert not ring.ready


def test_resuming_a_lane_after_its_item_was_discarded_is_ignored() -> None:
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


@pytest.mark.parametrize("kind", [Lanes, TenantLanes])
def test_fullness_counts_items_and_bytes(kind: type[Lanes[Item]]) -> None:
    ring = kind(max_items=4, max_bytes=100)
    ring.add(["a", "b"], ["a", "b"], [("a", "a", 0, 10), ("b", "b", 1, 1)])
    assert ring.fullness == 0.5
    ring.add(["a"], ["a"], [("a", "a", 2, 79)])
    assert ring.fullness == 0.9
    lane = ring.take()
    assert lane is not None
    ring.finish(lane)
    assert ring.fullness == 0.8


def test_idle_lanes_are_bounded() -> None:
    ring: Lanes[Item] = Lanes(max_items=100_000, max_bytes=10_000_000)
    for number in range(20_000):
        ring.add([str(number)], [str(number)], [("t", "l", number, 1)])
        lane = ring.take()
        assert lane is not None
        ring.finish(lane)
    assert len(ring._lanes) <= 10_001


def test_dropped_items_keep_order() -> None:
    lanes: Lanes[tuple[str, int]] = Lanes(max_items=9, max_bytes=99)
    lanes.add(["t"] * 3, ["l"] * 3, [("a", 1), ("b", 2), ("c", 3)])
    lane = lanes.take()
    assert lane is not None
    lanes.wait(lane)

    assert lanes.drop_behind(lane) == [("b", 2), ("c", 3)]
    assert (lanes.count, lanes.bytes, lane.front) == (1, 1, ("a", 1))


def item(number: int, size: int, *, tenant: str = "a", key: str = "x") -> Item:
    return (tenant, key, number, size)


def filled(ring: Lanes[Item], *items: Item) -> Lane[Item]:
    ring.add([each[0] for each in items], [each[1] for each in items], items)
    lane = ring.take()
    assert lane is not None
    return lane


KINDS = pytest.mark.parametrize("kind", [Lanes, TenantLanes])


def ring_of(kind: type[Lanes[Item]]) -> Lanes[Item]:
    return kind(max_items=100, max_bytes=1_000)


@KINDS
def test_kept_batch_items_run_first(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    items = [item(number, 10 + number) for number in range(5)]
    lane = filled(ring, *items)
    lane.running = 4
    ring.keep_front(lane, [items[1], items[3]])
    assert list(lane.items) == [items[1], items[3], items[4]]
    assert (ring.count, ring.bytes, lane.running, ring.ready) == (3, 11 + 13 + 14, 1, 0)
    ring.finish(lane)
    assert (ring.take(), ring.count, ring.bytes) == (lane, 2, 27)


@KINDS
def test_lane_set_aside_is_not_offered(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    lane = filled(ring, item(0, 1), item(1, 1))
    ring.set_aside(lane)
    assert (lane.running, ring.take()) == (0, None)
    lane.running = 1
    ring.finish_all(lane)
    assert (ring.take(), lane.running, ring.count) == (lane, 1, 1)


def test_limits_ignore_lanes_set_aside() -> None:
    ring = lanes(limit=1)
    first = filled(ring, item(0, 1, key="x"), item(1, 1, key="y"), item(2, 1, key="z"))
    assert ring.take() is None
    ring.set_aside(first)
    second = ring.take()
    assert second is not None
    assert second.key == "y"
    assert ring.take() is None
    ring.release(first)
    assert ring.take() is None
    ring.finish(second)
    assert [lane and lane.key for lane in (ring.take(), ring.take())] == ["z", None]


@KINDS
def test_settled_item_ends_a_wait(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    items = [item(0, 10), item(1, 20), item(2, 30)]
    lane = filled(ring, *items)
    ring.settle(lane, items[0])
    assert (lane.waiting, ring.count) == (False, 3)
    ring.wait(lane)
    ring.settle(lane, items[1])
    assert (lane.waiting, ring.count, lane.running) == (True, 3, 0)
    ring.settle(lane, items[0])
    assert (lane.waiting, ring.count, ring.bytes, ring.take()) == (False, 2, 50, lane)


@KINDS
def test_lane_resumes_for_its_own_item(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    items = [item(0, 10), item(1, 20)]
    lane = filled(ring, *items)
    ring.resume(lane, items[0])
    assert ring.take() is None
    ring.wait(lane)
    ring.resume(lane, items[1])
    assert (ring.take(), lane.waiting) == (None, True)
    ring.resume(lane, items[0])
    assert (ring.take(), lane.waiting) == (lane, False)


@KINDS
def test_dropped_items_cost_nothing(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    items = [item(0, 10), item(1, 20), item(2, 30)]
    lane = filled(ring, *items, item(7, 5, tenant="b", key="w"))
    ring.wait(lane)
    assert ring.drop_behind(lane) == items[1:]
    assert (list(lane.items), ring.count, ring.bytes) == ([items[0]], 2, 15)


@KINDS
def test_discarded_items_free_their_lane(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    items = [item(0, 10), item(1, 20), item(2, 30), item(3, 40)]
    lane = filled(ring, *items)
    lane.running = 2
    assert ring.discard(lambda each: each[2] in (0, 2)) == 1
    assert (list(lane.items), ring.count, ring.bytes, ring.take()) == ([items[0], items[1], items[3]], 3, 70, None)
    ring.wait(lane)
    assert ring.discard(lambda each: each[2] == 3) == 1
    assert (lane.waiting, ring.count, ring.bytes, ring.take()) == (True, 2, 30, None)
    assert ring.discard(lambda each: each[2] == 0) == 1
    assert (lane.waiting, ring.count, ring.bytes) == (False, 1, 20)
    assert (ring.take(), ring.take()) == (lane, None)


@KINDS
def test_emptied_lane_is_forgotten(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    lane = filled(ring, item(0, 10))
    ring.wait(lane)
    assert ring.discard(lambda _: True) == 1
    assert (ring._lanes, ring.count, ring.bytes, ring.ready) == ({}, 0, 0, 0)
    ring.resume(lane, item(0, 10))
    fresh = filled(ring, item(1, 5))
    assert fresh is not lane
    ring._forget(lane)
    assert ring._lanes == {"x": fresh}


@KINDS
def test_ten_thousand_idle_lanes_are_kept(kind: type[Lanes[Item]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lanes_module._KEPT_IDLE == 10_000
    monkeypatch.setattr(lanes_module, "_KEPT_IDLE", 2)
    ring = ring_of(kind)
    for key in ("x", "y", "z"):
        ring.finish(filled(ring, item(0, 1, key=key)))
    assert list(ring._lanes) == ["x", "y"]
    lane = filled(ring, item(0, 1, key="w"))
    ring.wait(lane)
    ring.settle(lane, lane.front)
    assert list(ring._lanes) == ["x", "y"]


@KINDS
def test_lanes_without_turn_offer_none(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    assert (ring.take(), ring.count, ring.bytes, ring.ready) == (None, 0, 0, 0)
    lane = filled(ring, item(0, 7), item(1, 8))
    assert (lane.key, lane.tenant, lane.running, lane.waiting, lane.aside) == ("x", "a", 1, False, False)
    assert (ring.take(), ring.count, ring.bytes) == (None, 2, 15)


def test_items_need_a_tenant_and_a_key() -> None:
    for ring in (ring_of(Lanes), lanes()):
        with pytest.raises(ValueError, match="zip"):
            ring.add(["a"], ["x", "y"], [item(0, 1), item(1, 1)])


def test_tenant_without_lanes_is_forgotten() -> None:
    ring: TenantLanes[Item] = TenantLanes(max_items=100, max_bytes=1_000, tenant_limit=2)
    lane = filled(ring, item(0, 1), item(1, 1, key="y"))
    ring.finish(lane)
    assert list(ring._tenants) == ["a"]
    other = ring.take()
    assert other is not None
    ring.finish(other)
    assert ring._tenants == {}
    ring.add(["b"], ["z"], [item(2, 1, tenant="b", key="z")])
    ring.discard(lambda _: True)
    assert (ring._tenants, ring.take()) == ({}, None)


def test_limit_counts_running_and_ran() -> None:
    ring = lanes(limit=2)
    first = filled(ring, *[item(0, 1, key=key) for key in "vwxyz"])
    second = ring.take()
    assert second is not None
    assert ring.take() is None
    ring.finish(first)
    third = ring.take()
    assert third is not None
    assert ring.take() is None
    ring.finish(second)
    ring.finish(third)
    assert [lane and lane.key for lane in (ring.take(), ring.take(), ring.take())] == ["y", "z", None]


@KINDS
def test_running_items_are_not_discarded(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    lane = filled(ring, item(0, 1), item(1, 1), item(2, 1))
    ring.run_first(lane, 2)
    assert ring.discard(lambda _: True) == 1
    assert (lane.running, ring.count) == (2, 2)


@KINDS
def test_finished_lane_is_discarded_whole(kind: type[Lanes[Item]]) -> None:
    ring = ring_of(kind)
    lane = filled(ring, item(0, 1), item(1, 1))
    ring.finish(lane)
    assert (ring.discard(lambda _: True), ring.count, ring.take()) == (1, 0, None)


def test_lane_counts_again_after_its_batch() -> None:
    ring = lanes(limit=1)
    lane = filled(ring, item(0, 1), item(1, 1), item(2, 1))
    ring.set_aside(lane)
    ring.release(lane)
    for _ in range(3):
        assert ring.take() is lane
        assert ring.take() is None
        ring.finish(lane)
    assert ring.take() is None


def test_tenant_at_its_limit_outlives_a_discard() -> None:
    ring = lanes(limit=1)
    first = filled(ring, item(0, 1, key="x"), item(1, 1, key="y"))
    ring.discard(lambda _: False)
    ring.finish(first)
    second = ring.take()
    assert second is not None
    assert second.key == "y"
