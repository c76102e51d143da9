"""Records of very many values: refused for the same reason as small ones, and cheaply."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice, product, starmap
from typing import Any, TypeAlias

import pytest
from hypothesis import settings
from pydantic import BaseModel, model_validator
from tests.unit.malformed import MALFORMED, Malformed, binary, structured

from eventzr_kafka import CloudEvent, EventData, Limits, Record, decode, encode
from eventzr_kafka.codec import decoder
from eventzr_kafka.codec.decoder import Decoder, decoder_for
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.skim import is_dear
from eventzr_kafka.errors import DecodeError, InvalidDataError, InvalidEnvelopeError, RecordTooLargeError
from eventzr_kafka.events.event_data import declared_events
from eventzr_marketplace_events import ListingClosed, RfpBroadcast, example
from eventzr_marketplace_events.examples import EXAMPLES

TENANT = b"t1"
ROOM = Limits().max_bytes
CPU_SECONDS = 0.25  # ten times what it takes on an idle machine, where errors of pydantic take up to 3 s

EACH = 37 if settings().max_examples < 1_000 else 1  # of the dear records; `make fuzz` takes them all

Filler: TypeAlias = Callable[[int], str]

every_event = pytest.mark.parametrize("event", EXAMPLES.values(), ids=lambda event: type(event).__name__)


def _yes(_value: bytes) -> bool:
    return True


def _no(_value: bytes) -> bool:
    return False


@pytest.fixture
def all_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record gets a first look."""
    monkeypatch.setattr(decoder, "is_dear", _yes)
    monkeypatch.setattr(decoder, "_MAX_QUICK", 0)
    decoder._cached_decoder.cache_clear()


def fresh(data_type: Any, **options: Any) -> Decoder:
    return Decoder(data_type, getattr(data_type, "__topic__", None), Limits(**options))


def filled(piece: str, room: int) -> str:
    return ",".join([piece] * (room // (len(piece) + 1)))


def numbered(value: str, room: int) -> str:
    return ",".join(f'"{number:x}":{value}' for number in range(room // (len(value) + 9)))


def numbers(value: str) -> Filler:
    return lambda room: f"{{{numbered(value, room - 2)}}}"


def items(item: str) -> Filler:
    return lambda room: f"[{filled(item, room - 2)}]"


def characters(text: str) -> Filler:
    return lambda room: f'"{text * ((room - 2) // len(text.encode()))}"'


FILLERS: list[Filler] = [
    *map(items, ("1", '""', "null", "1e9", "9" * 40, "[]", "{}", '{"a":1}')),
    *map(items, ("[" * 150 + "]" * 150, '{"":' * 150 + "1" + "}" * 150)),
    *map(numbers, ("1", "{}")),
    lambda room: f"{{{filled(chr(34) + 'a' + chr(34) + ':1', room - 2)}}}",
    lambda room: "1" * room,
    lambda room: "0." + "1" * (room - 2),
    *map(characters, ("a", "é", "\\u0041", '\\"', "\\ud83c")),
]
"""Make a JSON value of that many bytes; they are dear in different ways."""


def worst(event: EventData) -> Iterator[Callable[[], Record]]:
    """Makers of records of nearly 1 MiB that are no valid event of that class."""
    kind = type(event)
    topic = str(kind.__topic__)
    members: dict[str, Any] = json.loads(
        encode(CloudEvent[Any](id="1", source="s", type=topic, tenantid="t1", data=event)).value or b""
    )
    data = members.pop("data")
    first = next(iter(data))

    def record(data: str, more: str = "", *, key: bytes = TENANT, **changes: Any) -> Record:
        head = json.dumps({name: part for name, part in {**members, **changes}.items() if part is not None})[:-1]
        return Record(topic, 0, 0, key, f'{head},"data":{data}{more}}}'.encode(), STRUCTURED_HEADERS)

    def payload(more: str, *without: str) -> str:
        return json.dumps({name: part for name, part in data.items() if name not in without})[:-1] + f",{more}}}"

    def unknown(value: str, *without: str) -> str:
        return payload(f'"zz":{value}', *without)

    def instead_of(name: str) -> Callable[[str], Record]:
        return lambda value: record(payload(f'"{name}":{value}', name), key=b"another")

    def dear(fill: Filler, shape: Callable[[str], Record]) -> Callable[[], Record]:
        return lambda: shape(fill(room))

    def of_extensions(value: str) -> Callable[[], Record]:
        return lambda: record(payload('"z":1'), f",{numbered(value, room)}", key=b"another")

    def in_base64() -> Record:
        inner = base64.b64encode(payload(f'"zz":[{filled("1", room * 2 // 3)}]', first).encode()).decode()
        made = record("@", f',"data_base64":"{inner}"')
        return made._replace(value=(made.value or b"").replace(b'"data":@,', b""))

    room = ROOM - len(record(payload("")).value or b"") - 60
    headers = [(f"ce_{name}", text.encode()) for name, text in members.items() if name != "datacontenttype"]
    headers.append(("content-type", b"text/json"))
    shapes: list[Callable[[str], Record]] = [
        lambda value: record(unknown(value, first)),
        lambda value: record(unknown(value), key=b"another"),
        lambda value: record(unknown(value), type="another"),
        lambda value: record(unknown(value), id=None),
        lambda value: record(payload(f'"zz":{value},"z":NaN')),
        lambda value: record(unknown(value), ',"tenantid":"t2"'),
        lambda value: record(unknown(value)[:-1]),
        record,
        lambda value: record(payload('"z":1'), f',"zz":{value}', key=b"another"),
        lambda value: Record(topic, 0, 0, TENANT, unknown(value, first).encode(), headers),
        *map(instead_of, data),
    ]
    yield from starmap(dear, product(FILLERS, shapes))
    yield from map(of_extensions, ("1", "[]", "1.5", '"\x7f"'))
    yield in_base64


def cpu_seconds(decoder: Decoder, record: Record) -> float:
    """Processor time of refusing, the least of three."""
    spent: list[float] = []
    for _ in range(3):
        start = time.thread_time()
        with pytest.raises(DecodeError):
            decoder(record)
        spent.append(time.thread_time() - start)
        if spent[-1] < CPU_SECONDS / 2:
            break
    return min(spent)


@pytest.mark.parametrize("period", range(2, 75))
def test_a_list_of_any_period_is_seen_to_be_dear(period: int) -> None:
    many = f"[{filled('1' * (period - 1), 25_000 * period)}]".encode()
    assert all(is_dear(many) for _ in range(20))


def test_a_large_record_of_few_values_is_not_dear() -> None:
    few = f"[{filled('1' * 199, 1_000_000)}]".encode()
    assert not any(is_dear(few) for _ in range(100))


def test_a_scalar_that_is_an_array_or_object_is_refused() -> None:
    data = json.loads(example(ListingClosed).model_dump_json(by_alias=True))
    skimmer = decoder_for(ListingClosed, event_type=None)._skimmer
    assert skimmer is not None
    values: list[Any] = [[], {}, [[]], [1], {"a": 1}, [{"a": []}], {"a": {"a": "x"}}]
    for value in values:
        fault = skimmer.look_at_data(json.dumps({**data, "id": value}).encode())
        assert fault is not None
        assert fault.startswith("data.id: ")
        assert skimmer.look(structured({"data": data, "ext": value})().value or b"").envelope is not None


@every_event
def test_refusing_any_record_up_to_1_mib_is_cheap(event: EventData) -> None:
    decoder = decoder_for(type(event), event_type=type(event).__topic__)
    turn = list(EXAMPLES).index(type(event)) % EACH  # each class takes its turn
    for build in islice(worst(event), turn, None, EACH):
        record = build()
        assert len(record.value or b"") <= ROOM
        assert cpu_seconds(decoder, record) < CPU_SECONDS, (record.value or b"")[:300]


@pytest.mark.usefixtures("all_dear")
@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_a_first_look_gives_the_same_error(case: Malformed) -> None:
    record = case.build()
    with pytest.raises(DecodeError) as caught:
        fresh(declared_events()[record.topic])(record)
    assert type(caught.value) is case.error
    assert reason_without(record).startswith(caught.value.reason.partition(":")[0])


def reason_without(record: Record) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "is_dear", _no)
        with pytest.raises(DecodeError) as caught:
            fresh(declared_events()[record.topic])(record)
    return caught.value.reason


@pytest.mark.usefixtures("all_dear")
@every_event
def test_a_first_look_lets_a_valid_event_pass(event: EventData) -> None:
    whole = CloudEvent[Any](
        id="1", source="s", type=str(type(event).__topic__), tenantid="t1", data=event
    ).with_extensions(a="", b=True, c=-7)
    for mode in ("structured", "binary"):
        out = encode(whole, mode)
        read = fresh(type(event))(Record(out.topic, 0, 0, out.key, out.value, out.headers))
        assert read.data == event


def test_a_valid_record_of_very_many_values_is_read() -> None:
    event = example(RfpBroadcast).model_copy(update={"requirements": [""] * 100_000})
    out = encode(
        CloudEvent[Any](id="1", source="marketplace-svc", type=str(RfpBroadcast.__topic__), tenantid="t1", data=event)
    )
    assert decode(Record(out.topic, 0, 0, out.key, out.value, out.headers)).data == event


def test_the_field_of_a_dear_record_is_named() -> None:
    event = json.loads(example(RfpBroadcast).model_dump_json(by_alias=True))
    topic = str(RfpBroadcast.__topic__)
    data = {**event, "requirements": [1] * 100_000, "deadline": "soon"}
    error = refuse(structured({"type": topic, "data": data}, topic=topic)())
    assert error.reason.startswith(
        "data.requirements: Input should be a list of texts, or a text; data.deadline: Input"
    )
    assert type(error) is InvalidDataError


def test_more_extensions_than_headers_are_allowed_are_refused() -> None:
    many: dict[str, Any] = {f"x{number}": [] for number in range(12_000)}
    error = refuse(structured(many)())
    assert type(error) is InvalidEnvelopeError
    assert error.reason == "more than 128 extension attributes"


def refuse(record: Record) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(record)
    return caught.value


def test_the_limit_of_containers_does_not_count_strings() -> None:
    build = structured({"data": {"a": [[]] * 100, "b": "[{" * 500}, "type": "t"}, topic="t")
    assert decode(build(), limits=Limits(max_containers=103)).data["b"]
    with pytest.raises(RecordTooLargeError, match="more than 102 arrays and objects"):
        decode(build(), limits=Limits(max_containers=102))


class Judging(EventData, topic="test.skim.judging.v1"):
    amounts: list[Decimal] = []  # noqa: RUF012 -- pydantic copies it
    anything: Any = None

    @model_validator(mode="after")
    def _judge(self) -> "Judging":
        if self.anything == "wrong":
            raise ValueError(self.anything)
        return self


class Plain(BaseModel):
    size: int


@pytest.mark.usefixtures("all_dear")
@pytest.mark.parametrize("data_type", [Judging, Plain, dict[str, Plain], list[Plain], int, Any])
def test_a_first_look_changes_no_outcome_of_other_types(data_type: Any) -> None:
    payloads: list[Any] = [{}, {"amounts": [1, "x"]}, {"anything": "wrong"}, {"size": 1}, [{"size": 1}], [{}], 7, None]
    for data in (*payloads, {"a": {"size": "x"}}, {"a": {"size": 2}}):
        for build in (structured({"data": data}), binary({}, json.dumps(data).encode())):
            with_look = outcome(data_type, build())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(decoder, "is_dear", _no)
                assert outcome(data_type, build()) == with_look


def outcome(data_type: Any, record: Record) -> Any:
    try:
        return Decoder(data_type, None, Limits())(record)
    except DecodeError as error:
        return type(error)


def test_a_first_look_sees_into_a_class_with_a_validator() -> None:
    skimmer = decoder_for(Judging, event_type=None)._skimmer
    assert skimmer is not None
    wrong = skimmer.look_at_data(b'{"amounts": [1, "x"], "zz": [1, 2]}')
    assert wrong == "data.amounts: is not a valid list, or something in it is not"


@pytest.mark.usefixtures("all_dear")
def test_a_dear_record_is_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_again(_value: bytes) -> Any:
        raise AssertionError

    monkeypatch.setattr(decoder, "from_json", read_again)
    record = structured({"type": "test.skim.judging.v1", "data": {"anything": "wrong"}}, topic="test.skim.judging.v1")()
    error = refuse(record)
    assert (type(error), error.reason) == (InvalidDataError, "data: refused by a validator of the payload class")


@pytest.mark.usefixtures("all_dear")
def test_a_wrong_payload_in_base64_is_read_and_refused() -> None:
    payload = base64.b64encode(b'{"anything": "wrong"}').decode()
    changes = {"type": "test.skim.judging.v1", "data": ..., "data_base64": payload}
    error = refuse(structured(changes, topic="test.skim.judging.v1")())
    assert (type(error), error.reason) == (InvalidDataError, "data: refused by a validator of the payload class")
