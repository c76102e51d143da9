"""Lanes: what may run now, in which order, and when to stop taking in more.

1. A lane's items run one at a time, in the order they were added. A lane whose front item runs or waits is not offered.
2. Turns go round: first over the tenants that have something ready, then over the lanes of that tenant. A tenant with a
   long backlog costs another one turn, whatever its length.
3. At most `tenant_limit` items of one tenant run at once, if that is set.
4. Everything added and not yet finished counts against the bounds, running and waiting items too. At the upper bound
   the intake stops, at half of it it starts again: stopping costs the client what it had fetched ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lane", "Lanes"]

ItemT = TypeVar("ItemT")
_KEPT_IDLE = 10_000  # idle lanes that are kept, because a tenant that was heard of once is heard of again


class _Tenant(Generic[ItemT]):
    """The turn of one tenant: its lanes that have something to run."""

    __slots__ = ("in_ring", "key", "lanes", "ready", "running")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.lanes = 0
        self.ready: deque[Lane[ItemT]] = deque()
        self.running = 0
        self.in_ring = False


class Lane(Generic[ItemT]):
    """Items that run one after another; the front item stays in place until it is finished."""

    __slots__ = ("items", "key", "running", "tenant", "waiting")

    def __init__(self, key: Hashable, tenant: _Tenant[ItemT]) -> None:
        self.key = key
        self.tenant = tenant
        self.items: deque[tuple[ItemT, int]] = deque()
        self.running = False
        self.waiting = False

    @property
    def front(self) -> ItemT:
        """The item whose turn it is."""
        return self.items[0][0]


class Lanes(Generic[ItemT]):
    """All lanes of one consumer group in one process."""

    def __init__(self, *, max_items: int, max_bytes: int, tenant_limit: int | None = None) -> None:
        """Set the bounds.

        Args:
            max_items: Items at which the intake stops.
            max_bytes: Bytes at which it stops.
            tenant_limit: Items of one tenant that may run at once; None for no limit.
        """
        self.count = 0
        self.bytes = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._limit = tenant_limit
        self._lanes: dict[Hashable, Lane[ItemT]] = {}
        self._tenants: dict[Hashable, _Tenant[ItemT]] = {}
        self._ring: deque[_Tenant[ItemT]] = deque()

    def add(self, tenant_key: Hashable, lane_key: Hashable, item: ItemT, size: int) -> None:
        """Append an item of `size` bytes to a lane; a lane belongs to one tenant."""
        self.count += 1
        self.bytes += size
        lane = self._lanes.get(lane_key)
        if lane is None:
            lane = self._open(tenant_key, lane_key)
        items = lane.items
        items.append((item, size))
        if len(items) == 1:
            self._offer(lane)

    def take(self) -> Lane[ItemT] | None:
        """The lane whose turn it is, or None if nothing may run now. Its front item is the caller's until `finish`."""
        if not self._ring:
            return None
        tenant = self._ring.popleft()
        tenant.in_ring = False
        lane = tenant.ready.popleft()
        lane.running = True
        tenant.running += 1
        if tenant.ready:
            self._enter(tenant)
        return lane

    def finish(self, lane: Lane[ItemT]) -> None:
        """The front item of a taken lane has its outcome: the next one may run."""
        self.count -= 1
        self.bytes -= lane.items.popleft()[1]
        self._leave(lane)
        if lane.items:
            self._offer(lane)
        elif len(self._lanes) > _KEPT_IDLE:
            self._close(lane)

    def wait(self, lane: Lane[ItemT]) -> None:
        """The front item of a taken lane will run again later; until `resume` the lane is not offered."""
        lane.waiting = True
        self._leave(lane)

    def resume(self, lane: Lane[ItemT], item: ItemT) -> None:
        """Offer a waiting lane again, unless the item that it waited for was discarded meanwhile."""
        if lane.waiting and lane.front is item:
            self._offer(lane)

    def discard(self, unwanted: Callable[[ItemT], bool]) -> int:
        """Drop items that nobody may run any more, but for those that run now; returns how many."""
        before = self.count
        for lane in [lane for lane in self._lanes.values() if lane.items]:
            self._sift(lane, unwanted)
        return before - self.count

    @property
    def ready(self) -> bool:
        """Whether `take` would return a lane."""
        return bool(self._ring)

    def should_pause(self, *, paused: bool) -> bool:
        """Whether the intake is to stand still, given whether it does so now."""
        share = 2 if paused else 1
        return self.count * share >= self._max_items or self.bytes * share >= self._max_bytes

    def _sift(self, lane: Lane[ItemT], unwanted: Callable[[ItemT], bool]) -> None:
        front = lane.front
        kept = deque(
            entry for at, entry in enumerate(lane.items) if (at == 0 and lane.running) or not unwanted(entry[0])
        )
        self.count -= len(lane.items) - len(kept)
        self.bytes -= sum(size for _, size in lane.items) - sum(size for _, size in kept)
        lane.items = kept
        if not kept:
            self._withdraw(lane)
            self._close(lane)
        elif lane.waiting and lane.front is not front:
            self._offer(lane)

    def _open(self, tenant_key: Hashable, lane_key: Hashable) -> Lane[ItemT]:
        tenant = self._tenants.get(tenant_key)
        if tenant is None:
            tenant = self._tenants[tenant_key] = _Tenant(tenant_key)
        tenant.lanes += 1
        lane = self._lanes[lane_key] = Lane(lane_key, tenant)
        return lane

    def _close(self, lane: Lane[ItemT]) -> None:
        del self._lanes[lane.key]
        lane.tenant.lanes -= 1
        if not lane.tenant.lanes:
            del self._tenants[lane.tenant.key]

    def _offer(self, lane: Lane[ItemT]) -> None:
        lane.waiting = False
        lane.tenant.ready.append(lane)
        if not lane.tenant.in_ring:
            self._enter(lane.tenant)

    def _leave(self, lane: Lane[ItemT]) -> None:
        lane.running = False
        tenant = lane.tenant
        tenant.running -= 1
        if tenant.ready and not tenant.in_ring:
            self._enter(tenant)

    def _enter(self, tenant: _Tenant[ItemT]) -> None:
        if self._limit is None or tenant.running < self._limit:
            tenant.in_ring = True
            self._ring.append(tenant)

    def _withdraw(self, lane: Lane[ItemT]) -> None:
        tenant = lane.tenant
        if lane in tenant.ready:
            tenant.ready.remove(lane)
        if tenant.in_ring and not tenant.ready:
            self._ring.remove(tenant)
            tenant.in_ring = False
