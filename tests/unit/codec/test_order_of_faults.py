"""A record with several faults has the error of the first: envelope, key, `when`, source, payload."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Final

import pytest
from pydantic import model_validator

from eventzr_kafka import CloudEvent, EventData, Record
from eventzr_kafka.codec.decoder import Decoder, decoder_for
from eventzr_kafka.codec.selection import FailedPredicate, SelectiveDecoder, UnwantedEvent
from eventzr_kafka.errors import (
    InvalidDataError,
    InvalidEnvelopeError,
    SourceNotAllowedError,
    TenantMismatchError,
    TypeMismatchError,
)

TOPIC: Final = "order.of.faults.v1"
STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)


class Strict(EventData, topic=TOPIC):
    n: int
    items: list[int] | None = None


class Broken(EventData, topic="order.of.broken.v1"):
    n: int

    @model_validator(mode="before")
    @classmethod
    def refuse(cls, value: Any) -> Any:
        raise KeyError(value["n"])


GOOD: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "1",
    "source": "wallet-svc",
    "type": TOPIC,
    "tenantid": "t1",
    "datacontenttype": "application/json",
    "data": {"n": 1},
}
# In the order of the checks: the fault, and the error.
FAULTS: Final[dict[str, tuple[dict[str, Any], type[Exception]]]] = {
    "envelope": ({"id": ""}, InvalidEnvelopeError),
    "type": ({"type": "another.v1"}, TypeMismatchError),
    "key": ({"tenantid": "t2"}, TenantMismatchError),
    "when": ({"subject": "not for me"}, UnwantedEvent),
    "source": ({"source": "evil-svc"}, SourceNotAllowedError),
    "payload": ({"data": {"n": "none"}}, InvalidDataError),
}
PAIRS: Final = list(combinations(FAULTS, 2))


def decoder() -> Decoder:
    return decoder_for(Strict, event_type=TOPIC, sources={"wallet-svc"})


def selective(when: Callable[[CloudEvent[Any]], Any] | None = None) -> SelectiveDecoder:
    return SelectiveDecoder(decoder(), when or (lambda event: event.subject != "not for me"), "C.handle")


def structured(event: dict[str, Any]) -> Record:
    return Record(TOPIC, 0, 0, b"t1", json.dumps(event).encode(), STRUCTURED)


def careful(event: dict[str, Any]) -> Record:
    """One that is not plain: it is never read quickly."""
    return structured({**event, "note": "é"})


def dear(event: dict[str, Any]) -> Record:
    """One of very many values, at which is looked first."""
    return structured({**event, "data": {**event["data"], "items": [1] * 30_000}})


def in_base64(event: dict[str, Any]) -> Record:
    data = base64.b64encode(json.dumps(event["data"]).encode()).decode()
    return structured({**{name: part for name, part in event.items() if name != "data"}, "data_base64": data})


def binary(event: dict[str, Any]) -> Record:
    headers = [(f"ce_{name}", part.encode()) for name, part in event.items() if name not in ("data", "datacontenttype")]
    value = json.dumps(event["data"]).encode()
    return Record(TOPIC, 0, 0, b"t1", value, (("content-type", b"application/json"), *headers))


def spoiled(*names: str) -> dict[str, Any]:
    event = GOOD
    for name in names:
        event = {**event, **FAULTS[name][0]}
    return event


FORMS: Final = [structured, careful, dear, in_base64, binary]


@pytest.mark.parametrize("form", FORMS)
def test_good_event_is_read(form: Callable[[dict[str, Any]], Record]) -> None:
    assert (decoder()(form(GOOD)).data.n, selective()(form(GOOD)).data.n) == (1, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_first_of_two_faults_counts(first: str, second: str, form: Callable[[dict[str, Any]], Record]) -> None:
    record = form(spoiled(second, first))
    with pytest.raises(FAULTS[first][1]):
        selective()(record)
    without = [name for name in (first, second) if name != "when"]
    with pytest.raises(FAULTS[without[0]][1]):
        decoder()(record)


@pytest.mark.parametrize("form", FORMS)
def test_envelope_counts_first_of_all(form: Callable[[dict[str, Any]], Record]) -> None:
    with pytest.raises(InvalidEnvelopeError):
        selective()(form(spoiled(*reversed(FAULTS))))


def test_two_payloads_fault_the_envelope() -> None:
    both = {**spoiled("source"), "data_base64": "e30="}
    with pytest.raises(InvalidEnvelopeError, match="exclude each other"):
        decoder()(structured(both))
    with pytest.raises(InvalidEnvelopeError, match="exclude each other"):
        decoder()(dear(both))


def broken_records() -> Iterator[tuple[Record, type[Exception]]]:
    for name in ("envelope", "type", "key", "source"):
        changed = {**FAULTS[name][0]}
        yield structured({**GOOD, "type": "order.of.broken.v1", **changed}), FAULTS[name][1]


def test_odd_validator_comes_last() -> None:
    read = decoder_for(Broken, event_type="order.of.broken.v1", sources={"wallet-svc"})
    for record, error in broken_records():
        with pytest.raises(error):
            read(record)
    with pytest.raises(InvalidDataError, match="raised KeyError"):
        read(structured({**GOOD, "type": "order.of.broken.v1"}))


def test_binary_payload_comes_last() -> None:
    record = binary(spoiled("source"))._replace(value=b"<xml/>")
    with pytest.raises(SourceNotAllowedError):
        selective()(record)
    with pytest.raises(InvalidDataError, match=r"^order.*data: "):
        selective()(binary(GOOD)._replace(value=b"<xml/>"))


@pytest.mark.parametrize("form", FORMS)
def test_predicate_sees_plain_json(form: Callable[[dict[str, Any]], Record]) -> None:
    seen: list[Any] = []

    def when(event: CloudEvent[Any]) -> bool:
        seen.append(event.data)
        return True

    event = {**GOOD, "data": {"n": 1, "orderId": 7, "price": 1.5}}
    assert selective(when)(form(event)).data.n == 1
    assert {**seen[0], "items": None} == {"n": 1, "orderId": 7, "price": 1.5, "items": None}


def test_predicate_changes_nothing() -> None:
    def when(event: CloudEvent[Any]) -> bool:
        event.data["n"] = 99
        return True

    assert selective(when)(structured(GOOD)).data.n == 1


def test_error_of_predicate_has_event() -> None:
    with pytest.raises(FailedPredicate) as found:
        selective(lambda event: event.data["orderId"] == 1)(structured(GOOD))
    assert type(found.value.cause) is KeyError
    assert found.value.event.id == "1"


@pytest.mark.parametrize(("result", "name"), [(None, "NoneType"), (1, "int"), ("yes", "str"), ([], "list")])
def test_result_must_be_a_bool(result: object, name: str) -> None:
    with pytest.raises(FailedPredicate) as found:
        selective(lambda _event: result)(structured(GOOD))
    assert str(found.value.cause) == f"when= of C.handle returned a {name}, not True or False"


def test_missing_key_has_its_own_reason() -> None:
    with pytest.raises(TenantMismatchError) as found:
        decoder()(structured(GOOD)._replace(key=None))
    assert found.value.reason == "no key: it must be the event's tenantid 't1'"
