"""`Lanes`: the items of a group in order: which of them may run now, and how many there are.

1. A lane holds the items of one ordering key. They run one at a time, in the order in which they were added, or several
   of the first ones in one batch. A lane whose front runs or waits is not offered.
2. Turns go round: first over the tenants that have something ready, then over the lanes of that tenant. A tenant with a
   long backlog costs another one turn, whatever its length.
3. At most `tenant_limit` items of one tenant run at once, if that is set; a batch does not count.
4. An item counts against the bounds from `add` until it is finished, also while it runs or waits (see backpressure).

`Lanes` is for orders in which a tenant is one lane: its ring holds the lanes themselves. `TenantLanes` is for a tenant
with many; its ring holds tenants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Lane", "Lanes", "TenantLanes"]

ItemT = TypeVar("ItemT", bound="tuple[*tuple[Any, ...], int]")  # anything, with its size in bytes at the end
_KEPT_IDLE = 10_000  # empty lanes that are kept, since further events of their tenants are likely


class Lane(Generic[ItemT]):
    """Items that run one after another; the front one stays in place until it is finished."""

    __slots__ = ("aside", "items", "key", "running", "tenant", "waiting")

    def __init__(self, key: Hashable, tenant: Hashable) -> None:
        self.key = key
        self.tenant = tenant
        self.items: deque[ItemT] = deque()
        self.running = 0  # items at the front that run now
        self.waiting = False
        self.aside = False

    @property
    def front(self) -> ItemT:
        """The item whose turn it is."""
        return self.items[0]


class Lanes(Generic[ItemT]):
    """All lanes of one consumer group in one process."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        """Set the bounds.

        Args:
            max_items: Items at which they are full.
            max_bytes: Bytes at which they are full.
        """
        self.count = 0
        self.bytes = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._lanes: dict[Hashable, Lane[ItemT]] = {}
        self._ring: deque[Lane[ItemT]] = deque()

    def add(self, tenants: Iterable[Hashable], keys: Iterable[Hashable], items: Sequence[ItemT]) -> None:
        """Append items to lanes: the tenant, the lane's key and the item of each. A lane belongs to one tenant."""
        lanes, offer = self._lanes, self._offer
        self.count += len(items)
        self.bytes += sum([item[-1] for item in items])
        for tenant, key, item in zip(tenants, keys, items, strict=True):
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = Lane(key, tenant)
            lane.items.append(item)
            if len(lane.items) == 1:
                offer(lane)

    def take(self) -> Lane[ItemT] | None:
        """Take the lane whose turn it is, until it is finished or released; None if nothing may run now.

        Its front item counts as running, see also `run_first`.
        """
        if not self._ring:
            return None
        lane = self._ring.popleft()
        lane.running = 1
        return lane

    def run_first(self, lane: Lane[ItemT], number: int) -> None:
        """Count so many items at the front of a taken lane as running, for a batch."""
        lane.running = number

    def finish(self, lane: Lane[ItemT]) -> None:
        """Remove the front item of a taken lane, which has its outcome: the next one may run."""
        items = lane.items
        self.count -= 1
        self.bytes -= items.popleft()[-1]
        lane.running = 0
        if items:
            self._ring.append(lane)
        elif len(self._lanes) > _KEPT_IDLE:
            self._forget(lane)

    def finish_all(self, lane: Lane[ItemT]) -> None:
        """Remove the running items of a taken lane, which have their outcome: the next ones may run."""
        self._remove_front(lane, lane.running)
        self.release(lane)

    def drop_front(self, lane: Lane[ItemT]) -> None:
        """Remove the front item of a taken lane, whose other items have not run: the next ones may run."""
        self._remove_front(lane, 1)
        self.release(lane)

    def set_aside(self, lane: Lane[ItemT]) -> None:
        """Keep a taken lane for a batch: it is not offered, nothing of it runs, and no limit counts it."""
        lane.running = 0

    def keep_front(self, lane: Lane[ItemT], kept: Sequence[ItemT]) -> None:
        """Remove the running items of a taken lane but these, which run again; the lane stays taken."""
        self._remove_front(lane, lane.running)
        lane.items.extendleft(reversed(kept))
        self.count += len(kept)
        self.bytes += sum(item[-1] for item in kept)
        lane.running = 1

    def settle(self, lane: Lane[ItemT], item: ItemT) -> None:
        """Remove the item that a waiting lane waits for, which has its outcome, unless it was discarded meanwhile."""
        if lane.waiting and lane.front is item:
            lane.waiting = False
            self._remove_front(lane, 1)
            self._offer_rest(lane)

    def drop_behind(self, lane: Lane[ItemT]) -> list[ItemT]:
        """Drop the items behind the front of a waiting lane; returns them, in order."""
        front, *dropped = lane.items
        lane.items = deque([front])
        self.count -= len(dropped)
        self.bytes -= sum(item[-1] for item in dropped)
        return dropped

    def release(self, lane: Lane[ItemT]) -> None:
        """Offer a taken lane again, none of whose items runs any more."""
        self._stop_running(lane)
        self._offer_rest(lane)

    def wait(self, lane: Lane[ItemT]) -> None:
        """Keep a taken lane, whose front item will run again later, until `resume`."""
        lane.waiting = True
        self._stop_running(lane)

    def resume(self, lane: Lane[ItemT], item: ItemT) -> None:
        """Offer a waiting lane again, unless the item that it waited for was discarded meanwhile."""
        if lane.waiting and lane.front is item:
            lane.waiting = False
            self._offer(lane)

    def discard(self, unwanted: Callable[[ItemT], bool]) -> int:
        """Drop the unwanted items, except those that run now; returns their number."""
        before = self.count
        freed = [lane for lane in self._lanes.values() if lane.items and self._remove_unwanted(lane, unwanted)]
        self._withdraw_empty()
        for lane in [lane for lane in self._lanes.values() if not lane.items]:
            self._forget(lane)
        for lane in freed:
            self._offer(lane)
        return before - self.count

    @property
    def ready(self) -> int:
        """The number of lanes that could be taken now, one after another; with `TenantLanes`, at least so many."""
        return len(self._ring)

    @property
    def fullness(self) -> float:
        """The larger one of two shares: items of their bound, bytes of theirs; 1 or more if the lanes are full."""
        return max(self.count / self._max_items, self.bytes / self._max_bytes)

    def _remove_unwanted(self, lane: Lane[ItemT], unwanted: Callable[[ItemT], bool]) -> bool:
        """Remove unwanted items from a lane; returns True if the lane has others, and need not wait any more."""
        front = lane.front
        kept = deque(item for at, item in enumerate(lane.items) if at < lane.running or not unwanted(item))
        self.count -= len(lane.items) - len(kept)
        self.bytes -= sum(item[-1] for item in lane.items) - sum(item[-1] for item in kept)
        lane.items = kept
        if not lane.waiting or (kept and kept[0] is front):
            return False
        lane.waiting = False
        return bool(kept)

    def _remove_front(self, lane: Lane[ItemT], number: int) -> None:
        self.count -= number
        for _ in range(number):
            self.bytes -= lane.items.popleft()[-1]

    def _offer_rest(self, lane: Lane[ItemT]) -> None:
        if lane.items:
            self._offer(lane)
        elif len(self._lanes) > _KEPT_IDLE:
            self._forget(lane)

    def _offer(self, lane: Lane[ItemT]) -> None:
        self._ring.append(lane)

    def _stop_running(self, lane: Lane[ItemT]) -> None:
        lane.running = 0

    def _withdraw_empty(self) -> None:
        self._ring = deque(lane for lane in self._ring if lane.items)

    def _forget(self, lane: Lane[ItemT]) -> None:
        if self._lanes.get(lane.key) is lane:  # not if all its items were discarded while it was taken
            del self._lanes[lane.key]


class _Tenant(Generic[ItemT]):
    """The lanes of one tenant that have something to run."""

    __slots__ = ("in_ring", "ready", "running")

    def __init__(self) -> None:
        self.ready: deque[Lane[ItemT]] = deque()
        self.running = 0
        self.in_ring = False


class TenantLanes(Lanes[ItemT]):
    """Lanes of which a tenant may have many."""

    def __init__(self, *, max_items: int, max_bytes: int, tenant_limit: int | None = None) -> None:
        """Set the bounds.

        Args:
            max_items: Items at which they are full.
            max_bytes: Bytes at which they are full.
            tenant_limit: Items of one tenant that may run at once; None for no limit.
        """
        super().__init__(max_items=max_items, max_bytes=max_bytes)
        self._limit = tenant_limit
        self._tenants: dict[Hashable, _Tenant[ItemT]] = {}
        self._turns: deque[_Tenant[ItemT]] = deque()

    def take(self) -> Lane[ItemT] | None:
        """See `Lanes.take`."""
        if not self._turns:
            return None
        tenant = self._turns.popleft()
        tenant.in_ring = False
        lane = tenant.ready.popleft()
        lane.running = 1
        tenant.running += 1
        self._queue_turn(tenant)
        return lane

    def finish(self, lane: Lane[ItemT]) -> None:
        """See `Lanes.finish`."""
        self.finish_all(lane)

    @property
    def ready(self) -> int:
        """See `Lanes.ready`."""
        return len(self._turns)

    def _offer(self, lane: Lane[ItemT]) -> None:
        tenant = self._tenants.get(lane.tenant)
        if tenant is None:
            tenant = self._tenants[lane.tenant] = _Tenant()
        tenant.ready.append(lane)
        self._queue_turn(tenant)

    def set_aside(self, lane: Lane[ItemT]) -> None:
        """See `Lanes.set_aside`."""
        self._stop_running(lane)
        lane.aside = True

    def _stop_running(self, lane: Lane[ItemT]) -> None:
        lane.running = 0
        if lane.aside:
            lane.aside = False
            return
        tenant = self._tenants[lane.tenant]
        tenant.running -= 1
        self._queue_turn(tenant)
        self._forget_if_idle(lane.tenant, tenant)

    def _withdraw_empty(self) -> None:
        for tenant in self._tenants.values():
            tenant.ready = deque(lane for lane in tenant.ready if lane.items)
            tenant.in_ring = tenant.in_ring and bool(tenant.ready)
        self._turns = deque(tenant for tenant in self._turns if tenant.ready)
        for key, tenant in list(self._tenants.items()):
            self._forget_if_idle(key, tenant)

    def _queue_turn(self, tenant: _Tenant[ItemT]) -> None:
        if tenant.ready and not tenant.in_ring and (self._limit is None or tenant.running < self._limit):
            tenant.in_ring = True
            self._turns.append(tenant)

    def _forget_if_idle(self, key: Hashable, tenant: _Tenant[ItemT]) -> None:
        if not tenant.ready and not tenant.running:
            del self._tenants[key]
