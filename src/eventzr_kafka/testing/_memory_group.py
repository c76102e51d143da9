"""A consumer group of a `MemoryBroker`: its members, their partitions, and the committed offsets.

1. Rebalances are cooperative: only partitions that move to another member are revoked.
2. A round waits until every member has answered the last one, or was expelled. Partitions that are revoked in one round
   are assigned in the next.
3. A commit counts only for partitions that the member owns.
4. In each round a member receives either a revocation or an assignment, which may be empty.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from eventzr_kafka.kafka.record import TopicPartition, describe_partitions
from eventzr_kafka.kafka.transport import Position
from eventzr_kafka.testing._memory_cluster import Cluster, on_loop

__all__ = ["Group", "GroupMember", "balance"]


class GroupMember(Protocol):
    """A member, as its group sees it."""

    member_id: str
    topics: Sequence[str]
    loop: asyncio.AbstractEventLoop

    @property
    def reachable(self) -> bool:
        """True while the member answers."""
        ...

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Assign partitions to the member."""
        ...

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Revoke partitions from the member; it answers with `Group.release`."""
        ...


class Group:
    """One consumer group; all methods are called under the cluster's lock.

    Attributes:
        members: By member id, in the order in which they joined.
        owners: Member id by partition.
        committed: Offset and metadata by partition.
    """

    def __init__(self, cluster: Cluster, group_id: str) -> None:
        self.group_id = group_id
        self.members: dict[str, GroupMember] = {}
        self.owners: dict[TopicPartition, str] = {}
        self.committed: dict[TopicPartition, tuple[int, str]] = {}
        self._cluster = cluster
        self._revoking: dict[str, list[TopicPartition]] = {}
        self._round_on: asyncio.AbstractEventLoop | None = None
        self._put_off = False

    def join(self, member: GroupMember) -> None:
        """Add a member; the next round assigns partitions to it."""
        self.members[member.member_id] = member
        self._note("joined", member.member_id)
        self.rebalance_soon()

    def leave(self, member_id: str, why: str = "left") -> None:
        """Remove a member; its partitions are free."""
        if self.members.pop(member_id, None) is None:
            return
        self._note(why, member_id)
        self._revoking.pop(member_id, None)
        self.owners = {partition: owner for partition, owner in self.owners.items() if owner != member_id}
        self.rebalance_soon()

    def release(self, member_id: str) -> None:
        """Free the partitions that were revoked from a member, which has given them up."""
        for partition in self._revoking.pop(member_id, []):
            self.owners.pop(partition, None)
        self.rebalance_soon()

    def commit(self, member_id: str, positions: Iterable[Position]) -> None:
        """Commit the positions of partitions that the member owns; a former owner's are ignored."""
        for position in positions:
            if self.owners.get(position.partition) == member_id:
                self.committed[position.partition] = (position.offset, position.metadata)
                self._note("committed", member_id, *position.partition, position.offset)

    def rebalance_soon(self) -> None:
        """Schedule a round, on the event loop of a member."""
        self._expel_the_dead()
        if not self.members or (self._round_on is not None and not self._round_on.is_closed()):
            return
        loop = self._round_on = next(iter(self.members.values())).loop
        on_loop(loop, loop.call_later, self._cluster.delay(self._cluster.options.rebalance_delay), self._rebalance)

    def resume(self) -> None:
        """Begin the round that was put off because a member did not answer."""
        if self._put_off:
            self.rebalance_soon()

    def topics_created(self, names: Collection[str]) -> None:
        """Assign the partitions of new topics to members that have subscribed to them."""
        if any(name in member.topics for member in self.members.values() for name in names):
            self.rebalance_soon()

    def _expel_the_dead(self) -> None:
        """Expel members whose event loop was closed without `close`, as by a test that has failed."""
        for member_id, member in list(self.members.items()):
            if member.loop.is_closed():
                self.leave(member_id, "expelled")

    def _rebalance(self) -> None:
        with self._cluster.lock:
            self._round_on = None
            self._put_off = not all(member.reachable for member in self.members.values())
            if not self._put_off and not self._revoking:
                self._begin_round()

    def _begin_round(self) -> None:
        wanted = {member_id: self._subscribed(member) for member_id, member in self.members.items()}
        target = balance(wanted, self.owners)
        self._note("rebalanced", len(self.members), len(target))
        for member_id, member in list(self.members.items()):
            gone = [partition for partition in self.owned_by(member_id) if target.get(partition) != member_id]
            if gone:
                self._revoking[member_id] = gone
                self._note("revoked", member_id, describe_partitions(gone))
                member.revoke(gone)
            elif wanted[member_id]:  # otherwise none of its topics exists yet
                mine = [p for p, owner in sorted(target.items()) if owner == member_id and p not in self.owners]
                self.owners.update(dict.fromkeys(mine, member_id))
                self._note("assigned", member_id, describe_partitions(mine))
                member.assign(mine)

    def _subscribed(self, member: GroupMember) -> list[TopicPartition]:
        return [partition for topic in member.topics for partition in self._cluster.partitions_of(topic)]

    def owned_by(self, member_id: str) -> list[TopicPartition]:
        """The partitions of a member."""
        return sorted(partition for partition, owner in self.owners.items() if owner == member_id)

    def _note(self, verb: str, *fact: object) -> None:
        self._cluster.note(verb, self.group_id, *fact)


def balance(
    wanted: Mapping[str, Sequence[TopicPartition]], owners: Mapping[TopicPartition, str]
) -> dict[TopicPartition, str]:
    """Share the partitions out as evenly as the subscriptions allow, with as few moves as that needs.

    Args:
        wanted: Partitions of the topics that each member has subscribed to.
        owners: The present owners.

    Returns:
        The new owners.
    """
    able: dict[TopicPartition, list[str]] = {}
    for member_id, partitions in wanted.items():
        for partition in partitions:
            able.setdefault(partition, []).append(member_id)
    load = Counter(dict.fromkeys(wanted, 0))
    target = {p: owners[p] for p in sorted(able) if owners.get(p) in able[p]}
    load.update(target.values())
    for partition in sorted(able):
        if partition not in target:
            _give(target, load, partition, min(able[partition], key=load.__getitem__))
    while (move := _next_move(target, load, able)) is not None:
        load[target[move[0]]] -= 1
        _give(target, load, *move)
    return target


def _give(target: dict[TopicPartition, str], load: Counter[str], partition: TopicPartition, member_id: str) -> None:
    target[partition] = member_id
    load[member_id] += 1


def _next_move(
    target: Mapping[TopicPartition, str], load: Counter[str], able: Mapping[TopicPartition, Sequence[str]]
) -> tuple[TopicPartition, str] | None:
    """Find a partition whose owner has at least two more than another member that could own it."""
    for partition in sorted(target, reverse=True):
        least = min(able[partition], key=load.__getitem__)
        if load[target[partition]] - load[least] >= 2:
            return partition, least
    return None
