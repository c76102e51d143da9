"""A group whose memory fills: what it pauses, and when it asks for more."""

from __future__ import annotations

from tests.unit.conftest import MakeGroup, MakeRecord
from tests.unit.engine.test_consumer import Gated
from tests.waiting import until

from eventzr_kafka import kafka_consumer


async def test_full_buffer_pauses_until_half(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", max_buffered_events=4, drain_timeout=0)
    class Small(Gated):
        pass

    group = make_group(handler := Small())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(4)))
    assert group.transport.pauses == ["all"]
    handler.open("e0", "e1")
    await group.settle()
    assert group.transport.pauses == ["all"]
    handler.open("e2")
    await group.settle()
    assert group.transport.pauses == ["all", frozenset()]


async def test_partition_that_fills_the_buffer_is_paused_alone(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", max_buffered_events=8, drain_timeout=0)
    class Small(Gated):
        pass

    group = make_group(handler := Small())
    group.assign(epoch=1, partition=0)
    group.assign(epoch=2, partition=1)
    group.receive(*(make_record(n, "backlog") for n in range(3)))
    assert group.transport.pauses == []
    group.receive(make_record(3, "backlog"))
    assert group.transport.pauses == [{1}]
    group.receive(make_record(4, "t4", partition=1), epoch=2)
    handler.open("e4", "e0", "e1")
    await group.settle()
    assert sorted(handler.ended) == ["e0", "e1", "e4"]
    assert group.transport.pauses == [{1}]
    handler.open("e2")
    await group.settle()
    assert group.transport.pauses == [{1}, frozenset()]


async def test_partition_with_most_bytes_is_paused(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", max_buffered_bytes=1_000_000, drain_timeout=0)
    class Small(Gated):
        pass

    group = make_group(Small())
    group.assign(epoch=1, partition=0)
    group.assign(epoch=2, partition=1)
    group.receive(*(make_record(n, "large", data="x" * 80_000) for n in range(9)))
    group.receive(*(make_record(n, "small", partition=1) for n in range(40)), epoch=2)
    assert group.transport.pauses == [{1}]


async def test_letters_are_read_before_intake(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", after_dead_letter="park_key", drain_timeout=0)
    class Parks(Gated):
        pass

    group = make_group(handler := Parks())
    group.assign()
    await group.settle()
    group.reader.catch_up()
    group.receive(make_record(0, "a"))
    await group.settle()
    group.assign(epoch=2, partition=1)
    group.receive(make_record(0, "b", partition=1), epoch=2)
    asked = group.transport.credits
    handler.open("e0")
    await group.settle()
    assert group.transport.credits == asked


async def test_headers_count_in_memory(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", max_buffered_bytes=100_000, drain_timeout=0)
    class Small(Gated):
        pass

    group = make_group(Small())
    group.assign()
    group.receive(make_record(0), make_record(1))
    assert not group.transport.paused
    group.receive(make_record(2)._replace(headers=[("ce_note", b"x" * 100_000)]))
    assert group.transport.paused


async def test_little_ready_asks_for_more(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(*(make_record(n, f"t{n % 500}") for n in range(2_100)))
    await group.settle()
    assert group.transport.credits == 0
    handler.open(*(f"e{n}" for n in range(2_100)))
    await until(lambda: group.transport.credits == 1, pause=0)


async def test_batches_are_requested_beside_one_tenants_backlog(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(Gated())
    group.assign()
    group.receive(*(make_record(n, "one tenant") for n in range(3_000)))
    assert group.transport.credits == 1
