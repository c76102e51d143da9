"""The quotas of an MSK Serverless cluster, and whether a plan keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from eventzr_kafka.topics import Plan, TopicSpec, TopicState

__all__ = ["COMPACTED_PARTITIONS", "LEADER_PARTITIONS", "MESSAGE_BYTES", "broken_quotas", "leader_partitions"]

LEADER_PARTITIONS: Final = 2_400
COMPACTED_PARTITIONS: Final = 120
MESSAGE_BYTES: Final = 8 * 1024 * 1024


def leader_partitions(states: Mapping[str, TopicState]) -> int:
    """How many the cluster has now."""
    return sum(state.partitions for state in states.values())


def broken_quotas(specs: Collection[TopicSpec], states: Mapping[str, TopicState], plan: Plan) -> Iterator[str]:
    """What the cluster would refuse, one line each."""
    total = leader_partitions(states) + plan.new_partitions
    if total > LEADER_PARTITIONS:
        yield f"{total:,} leader partitions, MSK Serverless has {LEADER_PARTITIONS:,}: declare fewer partitions"
    compacted = _compacted(specs, states)
    if compacted > COMPACTED_PARTITIONS:
        yield f"{compacted} compacted partitions, MSK Serverless has {COMPACTED_PARTITIONS}: declare fewer partitions"
    for spec in specs:
        size = int(spec.configs.get("max.message.bytes", 0))
        if size > MESSAGE_BYTES:
            yield f"{spec.name}: max.message.bytes={size}, MSK Serverless takes {MESSAGE_BYTES}"


def _compacted(specs: Collection[TopicSpec], states: Mapping[str, TopicState]) -> int:
    wanted = {spec.name: spec.partitions for spec in specs if "compact" in spec.configs.get("cleanup.policy", "")}
    now = {name: state.partitions for name, state in states.items() if "compact" in state.configs["cleanup.policy"]}
    new = {name: partitions for name, partitions in wanted.items() if name not in states}
    return sum(max(partitions, wanted.get(name, 0)) for name, partitions in (now | new).items())
