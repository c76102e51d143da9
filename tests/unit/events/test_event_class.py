"""`CloudEvent` as a class: in pydantic, FastAPI, pickles, sets and logs."""

import copy
import json
import pickle
import weakref
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from eventzr_kafka import CloudEvent, Record, decode, encode
from eventzr_marketplace_events import ListingCreated, ListingUpdated, example

CANARY = "s3cr3t-canary"
CREATED = str(ListingCreated.__topic__)
LISTING = example(ListingCreated)
T = TypeVar("T")


class Notice(BaseModel):
    event: CloudEvent[ListingCreated]
    any_event: CloudEvent | None = None


class Page(BaseModel, Generic[T]):
    events: list[CloudEvent[T]]


class Listed(CloudEvent[ListingCreated]):
    def title(self) -> str | None:
        return self.data.title


def make(**attributes: Any) -> CloudEvent[Any]:
    given: dict[str, Any] = {"id": "1", "source": "marketplace-svc", "type": CREATED, "tenantid": "acme"}
    given["data"] = LISTING
    return CloudEvent(**{**given, **attributes})


def read(event: CloudEvent[Any]) -> CloudEvent[Any]:
    """The event as a consumer gets it."""
    out = encode(event)
    return decode(Record(out.topic, 0, 0, out.key, out.value, out.headers))


def full() -> CloudEvent[Any]:
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    extensions = {"traceparent": "00-1-2-03", "expirytime": "2026-03-03T12:00:00Z", "region": "eu", "hops": 2}
    return make(time=moment, subject="listing:1", datacontenttype="application/json", **extensions)


# Values


@pytest.mark.parametrize("event", [full(), read(full()), make(data=None), read(make())], ids=range(4))
def test_copies_and_pickles_are_equal(event: CloudEvent[Any]) -> None:
    for again in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):  # noqa: S301
        assert again == event
        assert (type(again), again.has_data, again.extensions) == (type(event), event.has_data, event.extensions)


def test_events_are_equal_by_all_attributes() -> None:
    assert read(full()) == full()
    for other in ({"subject": "x"}, {"region": "us"}, {"time": None}, {"data": None}, {"traceparent": None}):
        assert full().replace(**other) != full()
    assert make(data=None) != CloudEvent(id="1", source="marketplace-svc", type=CREATED, tenantid="acme")


def test_hash_is_of_source_and_id() -> None:
    assert hash(make(subject="a")) == hash(make(subject="b"))
    assert len({make(), read(make()), make(id="2"), make(source="other")}) == 3


def test_events_have_weak_references() -> None:
    event = read(make())
    assert weakref.ref(event)() is event


def test_replace_makes_another_event_by_the_same_rules() -> None:
    event = full()
    changed = event.replace(subject=None, id="2", region="us", data=None)
    assert (changed.subject, changed.id, changed.extensions["region"], changed.data) == (None, "2", "us", None)
    assert (event.subject, event.id) == ("listing:1", "1")
    with pytest.raises(ValidationError, match="tenantid"):
        event.replace(tenantid="")


def test_extensions_are_attributes() -> None:
    for event in (full(), read(full())):
        named: Any = event
        assert (named.region, named.hops, event.traceparent) == ("eu", 2, "00-1-2-03")
        with pytest.raises(AttributeError, match="no attribute 'other'"):
            named.other  # noqa: B018


def test_a_subclass_has_methods_and_stays_itself() -> None:
    event = Listed(id="1", source="s", type=CREATED, tenantid="t", data=LISTING)
    for one in (event, event.replace(id="2"), event.with_extensions(a="b"), pickle.loads(pickle.dumps(event))):  # noqa: S301
        assert (type(one), one.title()) == (Listed, LISTING.title)
    assert isinstance(event, CloudEvent)
    assert TypeAdapter(Listed).validate_json(event.to_json()).title() == LISTING.title


def test_a_subclass_has_no_fields() -> None:
    with pytest.raises(TypeError, match=r"WithRegion: a subclass adds methods, not fields"):

        class WithRegion(CloudEvent[Any]):  # pyright: ignore[reportUnusedClass] -- never made
            region: str


def test_construction_names_attributes_and_rules() -> None:
    with pytest.raises(ValidationError) as caught:
        make(id=CANARY + "\n", tenant_id="acme", time="today")
    text = str(caught.value)
    assert text.startswith("3 validation errors for CloudEvent\n")
    assert "id\n  must be a non-empty string without control characters" in text
    assert "tenant_id\n  must be named with a-z and 0-9 only" in text
    assert CANARY not in text


def test_neither_repr_nor_rich_shows_the_payload() -> None:
    event = read(make(data=LISTING.model_copy(update={"title": CANARY})))
    rich: Any = event
    assert CANARY not in f"{event!r}{list(rich.__rich_repr__())}"
    assert repr(event).startswith("CloudEvent(specversion='1.0', id='1', source='marketplace-svc'")


# Written


def test_to_json_is_the_wire_format() -> None:
    for event in (full(), make(data=b"\x00"), make(data=None), make(data={"price": Decimal("1.50")}, type="other")):
        assert json.loads(event.to_json()) == json.loads(encode(event).value or b"")


def test_a_partial_payload_is_written_as_it_was_given() -> None:
    event = make(data=ListingUpdated(id="1", title=None), type=str(ListingUpdated.__topic__))
    assert json.loads(event.to_json())["data"] == event.to_dict()["data"] == {"id": "1", "title": None}


def test_to_dict_has_what_is_present() -> None:
    given: dict[str, Any] = {
        "id": "1",
        "source": "marketplace-svc",
        "type": "t",
        "tenantid": "acme",
        "region": "eu",
        "hops": 2,
    }
    assert CloudEvent(**given).to_dict() == {"specversion": "1.0", **given}
    assert make().to_dict()["data"]["sellerId"] == LISTING.seller_id


# pydantic


def test_a_model_holds_the_very_event() -> None:
    event = read(full())
    assert Notice(event=event).event is event
    assert TypeAdapter(CloudEvent).validate_python(event) is event


def test_a_model_reads_what_it_writes() -> None:
    notice = Notice(event=full(), any_event=make(type="other", data=[1]))
    for again in (Notice.model_validate_json(notice.model_dump_json()), Notice.model_validate(notice.model_dump())):
        assert again == notice
        assert type(again.event.data) is ListingCreated
        assert again.event.extensions == full().extensions


def test_a_payload_is_held_to_its_class() -> None:
    for wrong in (make(data={"id": 1}), make(data=None), make(data="text").to_dict()):
        with pytest.raises(ValidationError, match=r"event\.data"):
            Notice(event=wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] -- the point
    assert Notice(event=make(data=LISTING.model_dump(by_alias=True))).event == make()  # a dict of the right form


def test_an_adapter_reads_at_run_time() -> None:
    adapter = CloudEvent.of(ListingCreated)
    assert adapter is CloudEvent.of(ListingCreated)
    assert adapter.validate_json(full().to_json()) == full()
    with pytest.raises(ValidationError, match=r"for CloudEvent\ndata\.id") as caught:
        adapter.validate_python(make(data={"canary": CANARY}).to_dict())
    assert CANARY not in str(caught.value)


def test_generic_models_know_the_payload() -> None:
    page = Page[ListingCreated].model_validate_json(f'{{"events":[{full().to_json()}]}}')
    assert page.events == [full()]


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_json_schema_describes_both_directions(mode: Any) -> None:
    schema = CloudEvent.of(ListingCreated).json_schema(mode=mode)
    assert schema["title"] == "CloudEvent"
    assert {"id", "source", "type", "time", "tenantid", "data"} <= schema["properties"].keys()
    assert {"id", "source", "type", "tenantid"} <= set(schema["required"])
    assert "ListingCreated" in str(schema["properties"]["data"])


# FastAPI


@pytest.fixture
def client() -> AsyncClient:
    app = FastAPI()

    @app.post("/events")
    async def take(event: CloudEvent[ListingCreated]) -> CloudEvent[ListingCreated]:
        assert type(event.data) is ListingCreated
        return event.with_extensions(seen=True)

    @app.post("/any")
    async def take_any(event: CloudEvent[Any]) -> CloudEvent[Any]:
        return event

    return AsyncClient(transport=ASGITransport(app), base_url="http://test")


async def test_fastapi_takes_and_returns_events(client: AsyncClient) -> None:
    answer = await client.post("/events", content=full().to_json(), headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert answer.json() == {**json.loads(full().to_json()), "seen": True}


async def test_fastapi_takes_events_of_any_payload(client: AsyncClient) -> None:
    text = CloudEvent(id="1", source="s", type="t", tenantid="t", data=[1]).to_json()
    answer = await client.post("/any", content=text, headers={"content-type": "application/json"})
    assert answer.text == text


async def test_fastapi_names_what_is_wrong(client: AsyncClient) -> None:
    answer = await client.post("/events", json={**json.loads(full().to_json()), "tenantid": ""})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "tenantid"]


async def test_fastapi_documents_events(client: AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    both = [schemas[f"CloudEvent_ListingCreated_-{way}"] for way in ("Input", "Output")]
    assert all("tenantid" in schema["required"] for schema in both)
