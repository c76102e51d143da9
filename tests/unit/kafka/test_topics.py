"""Topics: what a plan holds, what the file may say, and the quotas of MSK Serverless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import CloudEvent, EventData, kafka_consumer, on_message
from eventzr_kafka.cli.targets import read_targets, require_declared, topics_of_source
from eventzr_kafka.cli.topic_file import TopicFile, TopicOptions, topic_specs
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.kafka.topics import (
    CONFIGS,
    Change,
    ConfigureTopic,
    CreateTopic,
    GrowTopic,
    TopicSpec,
    TopicState,
    is_done,
    plan_topics,
)
from eventzr_kafka.msk.serverless import Quotas, broken_quotas
from eventzr_marketplace_events import ListingCreated, OrderCompleted

DAY = "86400000"
DELETE = {"cleanup.policy": "delete"}


class Shipped(EventData, topic="topics.parcel.shipped.v1", source="parcel-svc"):
    id: str


@kafka_consumer(group_id="topics-test")
class Needy:
    def __init__(self, database: object) -> None:
        self.database = database

    @on_message(ListingCreated)
    async def on_listing(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message(OrderCompleted)
    async def on_order(self, event: CloudEvent[OrderCompleted]) -> None: ...


@kafka_consumer(group_id="topics-test")
class NeedyToo:
    @on_message(Shipped)
    async def on_parcel(self, event: CloudEvent[Shipped]) -> None: ...


@kafka_consumer(group_id="undertakers")
class Undertaker:
    @on_message("topics-test.dlq")
    async def on_letter(self, event: CloudEvent) -> None: ...


def applied(states: dict[str, TopicState], change: Change) -> dict[str, TopicState]:
    match change:
        case CreateTopic(spec):
            return {**states, spec.name: TopicState(spec.name, spec.partitions, spec.configs)}
        case GrowTopic(topic, _, wanted):
            return {**states, topic: replace(states[topic], partitions=wanted)}
        case ConfigureTopic(topic, name, _, wanted):
            return {**states, topic: replace(states[topic], configs={**states[topic].configs, name: wanted})}


names = st.sampled_from(["a", "b", "c", "d"])
shapes = st.tuples(
    st.integers(1, 9), st.dictionaries(st.sampled_from(sorted(CONFIGS)), st.sampled_from(["-1", "5", "70"]))
)
topics = st.dictionaries(names, shapes)


@given(topics, topics)
def test_plan_leaves_nothing_and_no_loss(
    wanted: dict[str, tuple[int, dict[str, str]]], there: dict[str, tuple[int, dict[str, str]]]
) -> None:
    specs = [TopicSpec(name, *shape) for name, shape in wanted.items()]
    before = {name: TopicState(name, *shape) for name, shape in there.items()}
    after = before
    for change in plan_topics(specs, before).changes:
        after = applied(after, change)
        assert is_done(change, after[change.topic])

    assert plan_topics(specs, after).changes == ()
    assert all(
        state.configs.get("retention.ms") != "-1" or after[name].configs["retention.ms"] == "-1"
        for name, state in before.items()
    )
    assert after.keys() == wanted.keys() | there.keys()
    assert all(after[name].partitions >= state.partitions for name, state in before.items())
    assert all(after[name] == before[name] for name in there.keys() - wanted.keys())


def test_plan_creates_grows_and_configures() -> None:
    specs = [
        TopicSpec("new", 6),
        TopicSpec("small", 6, {"retention.ms": DAY}),
        TopicSpec("large", 2, {"cleanup.policy": "compact"}),
    ]
    states = {"small": TopicState("small", 3, {"retention.ms": "1"}), "large": TopicState("large", 8, DELETE)}

    plan = plan_topics(specs, states)

    assert plan.changes == (
        CreateTopic(specs[0]),
        GrowTopic("small", 3, 6),
        ConfigureTopic("small", "retention.ms", "1", DAY),
    )
    assert plan.new_partitions == 9
    assert plan.as_declared == 1
    assert [note.split(": ")[1] for note in plan.notes] == [
        "partitions are never removed",
        "it can be set only when a topic is created",
    ]


def test_quotas_sum_existing_and_planned() -> None:
    specs = [
        TopicSpec("new", 400, {"cleanup.policy": "compact"}),
        TopicSpec("big", 1, {"max.message.bytes": str(9 * 1024 * 1024)}),
    ]
    states = {"old": TopicState("old", 2000, DELETE), "big": TopicState("big", 1, DELETE)}

    plan = plan_topics(specs, states)
    broken = list(broken_quotas(specs, states, plan, Quotas()))

    assert [line.split(",")[0] for line in broken] == [
        "2",
        "400 compacted partitions",
        "big: max.message.bytes=9437184",
    ]
    assert broken[0].startswith("2,401 leader partitions, the quota is 2,400")
    assert list(broken_quotas(specs[:0], states, plan_topics([], states), Quotas())) == []

    raised = Quotas(leader_partitions=3_000, compacted_partitions=500, message_bytes=16 * 1024 * 1024)
    assert list(broken_quotas(specs, states, plan, raised)) == []


def test_consumer_declares_its_topics() -> None:
    found = read_targets([f"{__name__}:Needy"])

    assert found.topics == ["eventzr.marketplace.listing.created.v1", "eventzr.marketplace.order.completed.v1"]
    assert (found.groups, found.dead_letters) == (["topics-test"], ["topics-test.dlq"])


def test_module_or_class_declares_events() -> None:
    assert read_targets([f"{__name__}:Shipped"]).topics == ["topics.parcel.shipped.v1"]
    assert read_targets([__name__]).topics == ["topics.parcel.shipped.v1"]
    assert len(read_targets(["eventzr_marketplace_events"]).topics) == 18


@pytest.mark.parametrize("target", ["json", "json:dumps", f"{__name__}:Nobody", "not a target:x"])
def test_empty_target_is_refused(target: str) -> None:
    with pytest.raises(UsageError):
        read_targets([target])


def test_source_publishes_its_events() -> None:
    assert topics_of_source("parcel-svc") == ["topics.parcel.shipped.v1"]
    assert require_declared("topics.parcel.shipped.v1") == "topics.parcel.shipped.v1"
    with pytest.raises(UsageError, match="marketplace-svc"):
        topics_of_source("nobody-svc")
    with pytest.raises(UsageError, match="did you mean"):
        require_declared("topics.parcel.shiped.v1")


FILE = """
[defaults]
partitions = 12
retention = "7d"

[topics."eventzr.marketplace.order.completed.v1"]
retention = "forever"
configs = { "max.message.bytes" = 2097152 }

[topics."topics-test.dlq"]
partitions = 2
"""


def specs_of(text: str, folder: Path, given: TopicOptions) -> dict[str, TopicSpec]:
    path = folder / "topics.toml"
    path.write_text(text)
    return {spec.name: spec for spec in topic_specs(read_targets([f"{__name__}:Needy"]), TopicFile.read(path), given)}


def test_topic_options_come_first(tmp_path: Path) -> None:
    specs = specs_of(FILE, tmp_path, TopicOptions(partitions=3))

    week, fortnight = str(7 * int(DAY)), str(14 * int(DAY))
    order, listing = "eventzr.marketplace.order.completed.v1", "eventzr.marketplace.listing.created.v1"
    assert specs[listing] == TopicSpec(listing, 3, {"retention.ms": week})
    assert specs[order] == TopicSpec(order, 3, {"retention.ms": "-1", "max.message.bytes": "2097152"})
    room = {"max.message.bytes": str(2097152 + 65536), "retention.ms": fortnight}
    assert specs["topics-test.dlq"] == TopicSpec("topics-test.dlq", 2, room)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("[defaults.configs]\n'max.message.bytes' = 500_000", None),
        ("[defaults.configs]\n'max.message.bytes' = 8_388_000", "8388608"),
        ("[defaults.configs]\n'max.message.bytes' = 9_000_000", "9000000"),
        ("[defaults.configs]\n'max.message.bytes' = 9_000_000\n[quotas]\nmessage-bytes = 10_000_000", "9065536"),
        ("[dead-letters.configs]\n'max.message.bytes' = 3_000_000", "3000000"),
    ],
)
def test_dead_letter_topic_fits_group(text: str, size: str | None, tmp_path: Path) -> None:
    assert specs_of(text, tmp_path, TopicOptions())["topics-test.dlq"].configs.get("max.message.bytes") == size


def test_shared_topic_is_made_once() -> None:
    targets = [f"{__name__}:{name}" for name in ("Needy", "NeedyToo", "Undertaker", "Needy")]

    specs = topic_specs(read_targets(targets), TopicFile(), TopicOptions())

    assert [spec.name for spec in specs] == [
        "eventzr.marketplace.listing.created.v1",
        "eventzr.marketplace.order.completed.v1",
        "topics-test.dlq",
        "topics.parcel.shipped.v1",
        "undertakers.dlq",
    ]
    assert specs[2].partitions == 1


def test_raised_quotas_stand_in_file(tmp_path: Path) -> None:
    path = tmp_path / "topics.toml"
    path.write_text("[quotas]\nleader-partitions = 5000")

    assert TopicFile.read(path).quotas == Quotas(leader_partitions=5000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[defaults", "Expected"),
        ("[defaults]\npartitions = 0", "defaults.partitions"),
        ("[defaults]\nretention = '7 days'", "7d, or forever"),
        ("[defaults]\nretentoin = '7d'", "defaults.retentoin"),
        ("[defaults.configs]\n'segment.ms' = 1", "cannot be set; MSK Serverless allows"),
        ("[topics.'elsewhere.v1']", "which no target declares"),
        ("[topics.x.configs]\n'max.message.bytes' = '4MB'", "max.message.bytes='4MB' is not a whole"),
        ("[quotas]\nleaders = 5000", "quotas.leaders"),
        ("[dead-letters.configs]\n'max.message.bytes' = 1000", "too small for dead letters of 1048588 bytes"),
    ],
)
def test_wrong_file_names_the_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        specs_of(text, tmp_path, TopicOptions())


@pytest.mark.parametrize("now", ["-1", "1000"])
def test_retention_is_never_shortened(now: str) -> None:
    spec = TopicSpec("kept", 1, {"retention.ms": "10"})

    plan = plan_topics([spec], {"kept": TopicState("kept", 1, {"retention.ms": now})})

    assert plan.changes == ()
    assert plan.notes == (f"kept has retention.ms={now}, declared 10: a lower value deletes events; change it by hand",)


def test_milliseconds_beat_a_duration() -> None:
    own = TopicOptions(configs={"retention.ms": 5})

    assert own.over(TopicOptions(retention="7d")).spec("t").configs == {"retention.ms": "5"}
