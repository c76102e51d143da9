"""The quotas of an MSK Serverless cluster, and the check of a plan against them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from eventzr_kafka.kafka.topics import Plan, TopicSpec, TopicState

__all__ = ["Quotas", "broken_quotas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The limits of a cluster; the defaults are AWS's."""

    leader_partitions: int = 2_400
    compacted_partitions: int = 120
    message_bytes: int = 8 * 1024 * 1024


def broken_quotas(
    specs: Collection[TopicSpec], states: Mapping[str, TopicState], plan: Plan, quotas: Quotas
) -> Iterator[str]:
    """Return a line for each part of a plan that the cluster would refuse.

    Args:
        states: The states of all topics of the cluster.
    """
    total = sum(state.partitions for state in states.values()) + plan.new_partitions
    if total > quotas.leader_partitions:
        yield f"{total:,} leader partitions, the quota is {quotas.leader_partitions:,}: declare fewer partitions"
    compacted = _count_compacted(specs, states)
    if compacted > quotas.compacted_partitions:
        yield f"{compacted:,} compacted partitions, the quota is {quotas.compacted_partitions:,}: declare fewer"
    for spec in specs:
        size = int(spec.configs.get("max.message.bytes", 0))
        if size > quotas.message_bytes:
            yield f"{spec.name}: max.message.bytes={size}, the quota is {quotas.message_bytes}"


def _count_compacted(specs: Collection[TopicSpec], states: Mapping[str, TopicState]) -> int:
    wanted = {spec.name: spec.partitions for spec in specs if "compact" in spec.configs.get("cleanup.policy", "")}
    now = {
        name: state.partitions for name, state in states.items() if "compact" in state.configs.get("cleanup.policy", "")
    }
    new = {name: partitions for name, partitions in wanted.items() if name not in states}
    return sum(max(partitions, wanted.get(name, 0)) for name, partitions in (now | new).items())
