"""Records that are no valid event, as data: what is wrong, how to build one, and the error that it must give.

All of them are the guide's ``listing.created`` event with one thing made wrong. The payload and a header carry
`CANARY`, which no error may show.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, Final, NamedTuple, TypeAlias

from eventzr_kafka.codec.limits import PARSER_DEPTH
from eventzr_kafka.errors import (
    DecodeError,
    InvalidDataError,
    InvalidEnvelopeError,
    RecordTooLargeError,
    TenantMismatchError,
    TombstoneError,
    TypeMismatchError,
)
from eventzr_kafka.kafka.record import Header, Record

__all__ = [
    "CANARY",
    "CLOUDEVENTS",
    "DATA",
    "ENVELOPE",
    "MALFORMED",
    "NOTE",
    "TOPIC",
    "Malformed",
    "binary",
    "raw",
    "structured",
]

Build: TypeAlias = Callable[[], Record]

CANARY: Final = "s3cr3t-canary"
TOPIC: Final = "eventzr.marketplace.listing.created.v1"
CLOSED: Final = "eventzr.marketplace.listing.closed.v1"
TENANT: Final = "00000000-0000-0000-0000-000000000001"
NOTE: Final[Header] = ("x-note", CANARY.encode())
CLOUDEVENTS: Final[Header] = ("content-type", b"application/cloudevents+json; charset=utf-8")
DATA: Final[dict[str, Any]] = {
    "id": "listing-uuid",
    "title": CANARY,
    "lane": "vendora",
    "sellerId": "seller-uuid",
    "price": 5000,
    "currency": "USD",
}
ENVELOPE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "type": TOPIC,
    "source": "marketplace-svc",
    "time": "2026-03-02T12:00:00.000Z",
    "datacontenttype": "application/json",
    "subject": "listing:uuid",
    "tenantid": TENANT,
}
TEXT: Final = json.dumps({**ENVELOPE, "data": DATA})
TEXT_OF_DATA: Final = json.dumps(DATA)


class Malformed(NamedTuple):
    """One record, the error that it must give, and a part of the reason."""

    name: str
    build: Build
    error: type[DecodeError]
    reason: str


def raw(
    value: bytes | None,
    *headers: Header,
    key: bytes | None = TENANT.encode(),
    topic: str = TOPIC,
) -> Build:
    """A record with these bytes and no headers but these."""
    return lambda: Record(topic, 3, 42, key, value, [*headers, NOTE])


def structured(changes: dict[str, Any], *, key: bytes | None = TENANT.encode(), topic: str = TOPIC) -> Build:
    """The valid event in structured mode with these members changed; ``...`` takes one away."""
    members = {name: value for name, value in {**ENVELOPE, "data": DATA, **changes}.items() if value is not ...}
    return raw(json.dumps(members).encode(), CLOUDEVENTS, key=key, topic=topic)


def ending(more: str) -> Build:
    """The valid event in structured mode with more text before its last brace."""
    return raw(f"{TEXT[:-1]}{more}}}".encode(), CLOUDEVENTS)


def data(changes: dict[str, Any]) -> Build:
    """The valid event in structured mode with a payload that differs in these fields; ``...`` takes one away."""
    return structured({"data": {name: value for name, value in {**DATA, **changes}.items() if value is not ...}})


def binary(
    changes: dict[str, bytes | EllipsisType | None],
    value: bytes | None = TEXT_OF_DATA.encode(),
    *more: Header,
    content_type: bytes | EllipsisType | None = b"application/json",
    key: bytes | None = TENANT.encode(),
    topic: str = TOPIC,
) -> Build:
    """The valid event in binary mode with these attributes changed; ``...`` takes one away."""
    attributes = {name: text.encode() for name, text in ENVELOPE.items() if name != "datacontenttype"}
    given = {"content-type": content_type, **{f"ce_{name}": raw for name, raw in {**attributes, **changes}.items()}}
    return raw(value, *((name, raw) for name, raw in given.items() if raw is not ...), *more, key=key, topic=topic)


def _with_content_type(value: bytes) -> Build:
    return raw(TEXT.encode(), ("content-type", value))


def _cases(error: type[DecodeError], rows: Sequence[tuple[str, Build, str]]) -> None:
    MALFORMED.extend(Malformed(name, build, error, reason) for name, build, reason in rows)


MALFORMED: Final[list[Malformed]] = []
"""Every case; names are unique."""

_JSON = "Invalid JSON"
_NO_OBJECT = "no content-type, no ce_ headers, and the value is not a JSON object"
_TEXT = "a non-empty string without control characters"
_TIME = "time: must be a full RFC 3339 date-time with a zone"
_MEDIA = "datacontenttype: must be a media type"
_SOURCE = "source: must be a non-empty URI-reference"
_SCHEMA = "dataschema: must be an absolute URI"
_NAMED = "named with a-z and 0-9 only"
_VALUE = "a boolean or a signed 32-bit integer"
_TWICE = "tenantid stands twice"
_BOM = "byte order mark (UTF-8)"
_LONE = "a lone surrogate"
_CONFLUENT = b"\0\0\0\0\x2a" + TEXT.encode()
_FRAMED = "framed for a schema registry (Confluent"
_GLUE = b"\x03\x05" + bytes(range(16)) + TEXT.encode()
_GLUE_FRAMED = "framed for AWS Glue's schema registry"
_NAN = "NaN and Infinity are not JSON"
_BASE64 = "data_base64: must be a base64 string"
_BY_PYTHON_NAME = TEXT_OF_DATA.replace("sellerId", "seller_id").encode()
_DATA_BASE64 = b64encode(TEXT_OF_DATA.encode()).decode()
_FORMAT = "content-type: write application/cloudevents+json in UTF-8"
_DEEP = f"JSON nests deeper than the limit of {PARSER_DEPTH} levels"
_DEEPEST = json.loads("[" * PARSER_DEPTH + "0" + "]" * PARSER_DEPTH)
_TOO_DEEP = b"[" * 60_000 + b"]" * 60_000

_cases(  # 3.1 of the Kafka binding: without a value there is no structured event
    TombstoneError,
    [
        ("no value, no headers", raw(None), "tombstone"),
        ("no value in structured mode", raw(None, CLOUDEVENTS), "tombstone"),
        (
            "no value in structured mode, and a whole event in ce_ headers",
            binary({}, None, content_type=CLOUDEVENTS[1]),
            "tombstone",
        ),
        (
            "no value and a content-type, but no ce_ headers",
            raw(None, ("content-type", b"application/json")),
            "tombstone",
        ),
    ],
)

_cases(  # limits, before anything is parsed
    RecordTooLargeError,
    [
        ("value of 8 MiB", raw(TEXT.encode().ljust(8 << 20), CLOUDEVENTS), "8,388,608 bytes"),
        ("value of 1 MiB and a byte", raw(TEXT.encode().ljust((1 << 20) + 1), CLOUDEVENTS), "1,048,577 bytes"),
        ("binary value of 8 MiB", binary({}, b"[" * (8 << 20)), "8,388,608 bytes"),
        ("value of 8 MiB without headers", raw(b" " * (8 << 20) + TEXT.encode()), "bytes"),
        ("129 headers", raw(TEXT.encode(), CLOUDEVENTS, *[NOTE] * 127), "129 headers; the limit is 128"),
        ("header of 64 KiB", raw(TEXT.encode(), CLOUDEVENTS, ("x", bytes(65_536))), "bytes of headers"),
        ("header name of 64 KiB", raw(TEXT.encode(), CLOUDEVENTS, ("x" * 65_536, b"")), "bytes of headers"),
        ("ce_ header of 64 KiB", binary({"subject": b"s" * 65_536}), "bytes of headers"),
        ("arrays 60,000 deep", raw(_TOO_DEEP, CLOUDEVENTS), _DEEP),
        ("objects 60,000 deep", raw(b'{"a":' * 60_000 + b"1" + b"}" * 60_000, CLOUDEVENTS), _DEEP),
        ("arrays 60,000 deep that never close", raw(b"[" * 60_000, CLOUDEVENTS), _DEEP),
        ("data one level too deep", structured({"data": _DEEPEST}), _DEEP),
        ("unknown field 60,000 deep", ending(f',"a":{_TOO_DEEP.decode()}'), _DEEP),
        ("binary data 60,000 deep", binary({}, _TOO_DEEP), _DEEP),
        ("binary data of an open array 60,000 deep", binary({}, b'[{"a":' * 30_000), _DEEP),
        ("base64 data 60,000 deep", structured({"data": ..., "data_base64": b64encode(_TOO_DEEP).decode()}), _DEEP),
        ("deep and full of suspicions", ending(f',"a":{_TOO_DEEP.decode()},"\\u0000":"NaN Infinity"'), _DEEP),
        ("object without headers 60,000 deep", raw(b'{"a":' * 60_000), _DEEP),
    ],
)

_cases(  # the value is no JSON object in UTF-8
    InvalidEnvelopeError,
    [
        ("empty value without headers", raw(b""), _NO_OBJECT),
        ("empty value in structured mode", raw(b"", CLOUDEVENTS), _JSON),
        ("spaces only", raw(b" \n\t ", CLOUDEVENTS), _JSON),
        ("text without headers", raw(CANARY.encode()), _NO_OBJECT),
        ("array without headers", raw(f"[{TEXT}]".encode()), _NO_OBJECT),
        ("byte order mark without headers", raw(b"\xef\xbb\xbf" + TEXT.encode()), _BOM),
        ("byte order mark in structured mode", raw(b"\xef\xbb\xbf" + TEXT.encode(), CLOUDEVENTS), _BOM),
        ("array in structured mode", raw(f"[{TEXT}]".encode(), CLOUDEVENTS), "Input should be an object"),
        ("string in structured mode", raw(json.dumps(CANARY).encode(), CLOUDEVENTS), "Input should be an object"),
        ("null in structured mode", raw(b"null", CLOUDEVENTS), "Input should be an object"),
        ("trailing garbage", raw(f"{TEXT}{CANARY}".encode(), CLOUDEVENTS), _JSON),
        ("two objects", raw(f"{TEXT}{TEXT}".encode(), CLOUDEVENTS), _JSON),
        ("cut off", raw(TEXT[:-5].encode(), CLOUDEVENTS), _JSON),
        ("cut off inside a string", raw(f'{{"id":"{CANARY}'.encode(), CLOUDEVENTS), _JSON),
        ("trailing comma", ending(","), _JSON),
        ("single quotes", raw(str(DATA).encode(), CLOUDEVENTS), _JSON),
        ("comment", ending(f"/*{CANARY}*/"), _JSON),
        ("name without quotes", ending(",a:1"), _JSON),
        ("leading zero", ending(',"a":01'), _JSON),
        ("control character in a string", raw(TEXT.replace("vendora", "ven\ndora").encode(), CLOUDEVENTS), _JSON),
        ("broken UTF-8 in the payload", raw(TEXT.encode().replace(b"vendora", b"v\xffe"), CLOUDEVENTS), _JSON),
        ("broken UTF-8 in an attribute", raw(TEXT.encode().replace(b"listing:", b"\xc3("), CLOUDEVENTS), _JSON),
        ("overlong UTF-8", raw(TEXT.encode().replace(b"vendora", b"\xc0\xaf"), CLOUDEVENTS), _JSON),
        ("surrogates in UTF-8", raw(TEXT.encode().replace(b"vendora", b"\xed\xa0\x80"), CLOUDEVENTS), _JSON),
        *(
            (f"lone surrogate {text}", raw(TEXT.replace("vendora", text).encode(), CLOUDEVENTS), _LONE)
            for text in ("\\ud800", "\\uDFFF", "\\ud83c\\u0041", "\\ud83cx", "\\\\\\ud83c", "\\ud83c\\ud83c\\udf00")
        ),
        ("UTF-16", raw(TEXT.encode("utf-16"), CLOUDEVENTS), "byte order mark (UTF-16)"),
        ("framed by Confluent's serializer", raw(_CONFLUENT, CLOUDEVENTS), _FRAMED),
        ("framed by Confluent's serializer, no headers", raw(_CONFLUENT), _FRAMED),
        ("framed by Glue's serializer", raw(_GLUE, CLOUDEVENTS), _GLUE_FRAMED),
        ("framed by Glue's serializer, no headers", raw(_GLUE), _GLUE_FRAMED),
        ("too short for a frame", raw(b"\0abc", CLOUDEVENTS), _JSON),
        ("NaN", structured({"data": {**DATA, "price": float("nan")}}), _NAN),
        ("Infinity", structured({"data": {**DATA, "price": float("inf")}}), _NAN),
        ("NaN in an unknown field", structured({"data": {**DATA, "x": [float("nan")]}}), _NAN),
        ("-Infinity in an unknown field", structured({"data": {**DATA, "x": [float("-inf")]}}), _NAN),
        ("NaN as an extension", ending(',"a":NaN'), _NAN),
        ("NaN in binary data", binary({}, json.dumps({**DATA, "price": float("nan")}).encode()), _NAN),
        ("integer of 5,000 digits", ending(f',"a":{"1" * 5000}'), _JSON),
    ],
)

_cases(  # required attributes
    InvalidEnvelopeError,
    [
        ("specversion is missing", structured({"specversion": ...}), "specversion: "),
        ("specversion is null", structured({"specversion": None}), "specversion: "),
        ("specversion 0.3", structured({"specversion": "0.3"}), "specversion: "),
        ("specversion 1.0.2", structured({"specversion": "1.0.2"}), "specversion: "),
        ("specversion is a number", structured({"specversion": 1.0}), "specversion: "),
        *((f"{name} is missing", structured({name: ...}), f"{name}: ") for name in ("id", "source", "type")),
        *((f"{name} is null", structured({name: None}), f"{name}: must be ") for name in ("id", "source", "type")),
        *((f"{name} is empty", structured({name: ""}), f"{name}: must be ") for name in ("id", "source", "type")),
        *((f"{name} is a number", structured({name: 7}), f"{name}: must be ") for name in ("id", "source", "type")),
        ("id is an object", structured({"id": {"a": CANARY}}), f"id: must be {_TEXT}"),
        ("id with a line feed", structured({"id": f"{CANARY}\n"}), f"id: must be {_TEXT}"),
        ("id with DEL", structured({"id": f"{CANARY}\x7f"}), f"id: must be {_TEXT}"),
        ("id with a raw C1 character", raw(TEXT.replace("a1b2", "\x85").encode(), CLOUDEVENTS), f"id: must be {_TEXT}"),
        (
            "subject with a raw DEL",
            raw(TEXT.replace(":uuid", "\x7f").encode(), CLOUDEVENTS),
            f"subject: must be {_TEXT}",
        ),
        ("type with NUL", structured({"type": f"{CANARY}\0"}), f"type: must be {_TEXT}"),
        ("source with a space", structured({"source": f"{CANARY} svc"}), _SOURCE),
        ("source with a bad percent escape", structured({"source": f"{CANARY}%zz"}), _SOURCE),
        ("source beyond ASCII", structured({"source": f"{CANARY}é"}), _SOURCE),
        ("source that begins with a colon", structured({"source": f":{CANARY}"}), _SOURCE),
        ("source with a scheme that begins with a digit", structured({"source": f"1a:{CANARY}"}), _SOURCE),
        ("source in angle brackets", structured({"source": f"<{CANARY}>"}), _SOURCE),
        (
            "source with two fragments",
            structured({"source": f"a#{CANARY}#b"}),
            _SOURCE,
        ),
        (
            "source with brackets in its path",
            structured({"source": f"/{CANARY}[0]"}),
            _SOURCE,
        ),
    ],
)

_cases(  # the tenant
    InvalidEnvelopeError,
    [
        ("tenantid is missing", structured({"tenantid": ...}), "tenantid: "),
        ("tenantid is missing, and so is the key", structured({"tenantid": ...}, key=None), "tenantid: "),
        ("tenantid is null", structured({"tenantid": None}), f"tenantid: must be {_TEXT}"),
        ("tenantid is empty", structured({"tenantid": ""}, key=b""), f"tenantid: must be {_TEXT}"),
        ("tenantid is a number", structured({"tenantid": 7}, key=b"7"), f"tenantid: must be {_TEXT}"),
        ("tenantid with a control character", structured({"tenantid": "a\x85"}), f"tenantid: must be {_TEXT}"),
        ("second tenantid", ending(f',"tenantid":"{CANARY}"'), _TWICE),
        ("second tenantid of the same value", ending(f',"tenantid":"{TENANT}"'), _TWICE),
        ("second tenantid before the first", raw(f'{{"tenantid":"a",{TEXT[1:]}'.encode(), CLOUDEVENTS), _TWICE),
        ("second tenantid with one letter escaped", ending(f',"\\u0074enantid":"{CANARY}"'), _TWICE),
        ("second tenantid with another letter escaped", ending(',"tenanti\\u0064":null'), _TWICE),
        (
            "second tenantid escaped all over",
            ending("".join([',"', *(f"\\u{ord(letter):04X}" for letter in "tenantid"), '":1'])),
            _TWICE,
        ),
        ("second tenantid with a space before the colon", ending(',"tenantid" :"a"'), _TWICE),
        ("second tenantid behind one in the payload", ending(',"data":{"tenantid":1},"tenantid":"a"'), _TWICE),
        ("second tenantid without headers", raw(f'{TEXT[:-1]},"tenantid":"a"}}'.encode()), _TWICE),
    ],
)

_cases(  # optional attributes and extensions
    InvalidEnvelopeError,
    [
        ("subject is empty", structured({"subject": ""}), f"subject: must be {_TEXT}"),
        ("subject is a number", structured({"subject": 7}), f"subject: must be {_TEXT}"),
        ("subject with a tab", structured({"subject": f"{CANARY}\t"}), f"subject: must be {_TEXT}"),
        ("dataschema is empty", structured({"dataschema": ""}), _SCHEMA),
        ("dataschema is relative", structured({"dataschema": f"/{CANARY}"}), _SCHEMA),
        ("dataschema is a boolean", structured({"dataschema": True}), _SCHEMA),
        ("datacontenttype is empty", structured({"datacontenttype": ""}), _MEDIA),
        ("datacontenttype without a slash", structured({"datacontenttype": CANARY}), _MEDIA),
        ("datacontenttype without a subtype", structured({"datacontenttype": f"{CANARY}/"}), _MEDIA),
        ("datacontenttype with half a parameter", structured({"datacontenttype": "a/b; charset"}), _MEDIA),
        ("datacontenttype with a space inside", structured({"datacontenttype": f"a/b {CANARY}"}), _MEDIA),
        ("datacontenttype is a list", structured({"datacontenttype": ["a/b"]}), _MEDIA),
        (
            "datacontenttype with a line feed in quotes",
            structured({"datacontenttype": f'a/b; c="{CANARY}\n"'}),
            _MEDIA,
        ),
        (
            "datacontenttype with a C1 character in quotes",
            structured({"datacontenttype": f'a/b; c="{CANARY}\x85"'}),
            _MEDIA,
        ),
        *(
            (f"time {time!r}", structured({"time": time}), _TIME)
            for time in (
                "",
                CANARY,
                "2026-03-02",
                "2026-03-02T12:00Z",
                "2026-03-02T12:00:00",
                "2026-03-02T12:00:00+05",
                "2026-03-02T12:00:00+0500",
                "2026-03-02T12:00:00+25:00",
                "2026-03-02T12:00:00+05:60",
                "2026-03-02T12:00:00 Z",
                "2026-03-02T12:00:00.Z",
                "2026-03-02T12:00:00,5Z",
                "2026-03-02 12:00:00Z",
                "2026-3-2T12:00:00Z",
                "20260302T120000Z",
                "2026-13-01T12:00:00Z",
                "2026-02-30T12:00:00Z",
                "2026-03-02T24:00:00Z",
                "2026-03-02T12:60:00Z",
                "2026-03-02T12:00:61Z",
                "2026-03-02T12:00:60Z",
                "2026-03-02T23:58:60Z",
                "2016-12-31T23:59:60+01:00",
                "2026-02-30T23:59:60Z",
                "2016-12-31T23:59:61Z",
                "0000-03-02T12:00:00Z",
                "٢٠٢٦-03-02T12:00:00Z",
                "2026-03-02T12:00:00Z\n",
                1772452800,
                1772452800.5,
                True,
                {"seconds": 1},
            )
        ),
        *(
            (f"extension named {name!r}", structured({name: CANARY}), _NAMED)
            for name in ("traceParent", "my_ext", "my-ext", "my.ext", "my ext", "é", "\u0661", "a\n", "")
        ),
        *(
            (f"extension of value {value!r}", structured({"ext": value}), _VALUE)
            for value in (1.5, 1.0, 2**31, -(2**31) - 1, 10**30, {"a": CANARY}, [CANARY], f"{CANARY}\n", "\x7f")
        ),
    ],
)

_cases(  # data_base64
    InvalidEnvelopeError,
    [
        ("data and data_base64", structured({"data_base64": "QQ=="}), "data and data_base64 exclude each other"),
        ("null data and data_base64", structured({"data": None, "data_base64": "QQ=="}), "exclude each other"),
        *(
            (f"data_base64 {value!r}", structured({"data": ..., "data_base64": value}), _BASE64)
            for value in (CANARY, "QQ", "QQ=", "QQ==QQ==", "QQ==\n", "-_8=", "é", 7, True, ["QQ=="], {"a": "QQ=="})
        ),
        (
            "data_base64 and a datacontenttype that is a list",
            structured({"data": ..., "data_base64": _DATA_BASE64, "datacontenttype": ["a/b"]}),
            _MEDIA,
        ),
        ("data_base64 and a bad time", structured({"data": ..., "data_base64": _DATA_BASE64, "time": CANARY}), _TIME),
    ],
)

_cases(  # the payload does not fit ListingCreated
    InvalidDataError,
    [
        ("no data", structured({"data": ...}), "data: "),
        ("data is null", structured({"data": None}), "data: "),
        ("data is a list", structured({"data": [CANARY]}), "data: "),
        ("data is a string", structured({"data": CANARY}), "data: "),
        ("data is JSON inside a string", structured({"data": json.dumps(DATA)}), "data: "),
        ("field is missing", data({"sellerId": ...}), "data.sellerId: Field required"),
        ("field is null", data({"sellerId": None}), "data.sellerId: "),
        ("field of the wrong type", data({"title": {"a": CANARY}}), "data.title: "),
        ("empty id", data({"id": ""}), "data.id: "),
        ("Python name on the wire", data({"sellerId": ..., "seller_id": CANARY}), "data.sellerId: Field required"),
        ("price is no number", data({"price": CANARY}), "data.price: "),
        ("price is a boolean", data({"price": True}), "data.price: "),
        ("price is an object", data({"price": {"amount": CANARY}}), "data.price: "),
        ("price is NaN in a string", data({"price": "NaN"}), "data.price: "),
        ("price beyond every number", ending(f',"data":{TEXT_OF_DATA.replace("5000", "1e999")}'), "data.price: "),
        ("price of 16 digits", data({"price": 1234567890123456}), "data.price: "),
        ("price is negative", data({"price": -1}), "data.price: "),
        ("currency in mixed case", data({"currency": "Usd"}), "data.currency: "),
        ("five faults", data(dict.fromkeys(["id", "title", "lane", "price", "currency"], ())), " and 2 more"),
        (
            "part of a payload does not fit",
            structured(
                {
                    "type": CLOSED,
                    "data": {"id": "1", "reason": CANARY, "statistics": {"views": -1, "quotes": 0, "orders": 0}},
                },
                topic=CLOSED,
            ),
            "data.statistics.views: ",
        ),
        ("data_base64 that holds no JSON", structured({"data": ..., "data_base64": "QQ=="}), f"data: {_JSON}"),
        ("data_base64 that does not fit", structured({"data": ..., "data_base64": "e30="}), "data.id: Field required"),
        ("binary data does not fit", binary({}, b"{}"), "data.id: Field required"),
        ("binary data by Python name", binary({}, _BY_PYTHON_NAME), "data.sellerId: Field required"),
        ("binary data is no JSON", binary({}, CANARY.encode()), f"data: {_JSON}"),
        ("binary data with trailing garbage", binary({}, b"{}" + CANARY.encode()), f"data: {_JSON}"),
        ("binary data is empty", binary({}, b""), f"data: {_JSON}"),
        ("binary data with a byte order mark", binary({}, b"\xef\xbb\xbf{}"), f"data: the value begins with a {_BOM}"),
        ("binary data framed by Confluent", binary({}, _CONFLUENT), f"data: the value is {_FRAMED}"),
        ("binary data framed by Glue", binary({}, _GLUE), f"data: the value is {_GLUE_FRAMED}"),
        ("binary data with a lone surrogate", binary({}, b'{"id":"\\udc00"}'), f"data: Invalid JSON: {_LONE}"),
        ("binary data in broken UTF-8", binary({}, b'{"id":"\xff"}'), f"data: {_JSON}"),
        ("binary data is absent", binary({}, None), "data: "),
        ("binary data is text", binary({}, CANARY.encode(), content_type=b"text/plain"), "data: "),
        ("binary data of no known type", binary({}, content_type=b"application/octet-stream"), "data: "),
        ("text not in its charset", binary({}, b"\xff", content_type=b"text/plain"), "data: is not text in charset"),
        ("text in an unknown charset", binary({}, content_type=b"text/plain; charset=klingon"), "'klingon'"),
        ("charset that is no charset", binary({}, content_type=b"text/plain; charset=base64"), "'base64'"),
        ("charset that no text has", binary({}, content_type=b"text/plain; charset=undefined"), "'undefined'"),
        *(
            (
                f"charset {name} of Python alone",
                binary({}, text, content_type=f"text/plain; charset={name}".encode()),
                f"data: is not text in charset '{name}'",
            )
            for name, text in (
                ("idna", b"abc"),
                ("punycode", b"bcher-kva"),
                ("unicode_escape", b"\\ud800"),
                ("raw_unicode_escape", b"\\ud800"),
            )
        ),
        (
            "lone surrogate in UTF-7",
            binary({}, b"+2AA-", content_type=b"text/plain; charset=utf-7"),
            "data: is not text in charset 'utf-7'",
        ),
    ],
)

_cases(  # the key is the tenant
    TenantMismatchError,
    [
        ("key is missing", structured({}, key=None), "no key: it must be the event's tenantid"),
        ("key is empty", structured({}, key=b""), "the key is not"),
        ("key of another tenant", structured({}, key=f"{CANARY}".encode()), "the key is not"),
        ("key with a space", structured({}, key=f"{TENANT} ".encode()), "the key is not"),
        ("key as JSON", structured({}, key=json.dumps(TENANT).encode()), "the key is not"),
        ("key in another case", structured({"tenantid": "Acme"}, key=b"acme"), "'Acme'"),
        ("key in UTF-16", structured({}, key=TENANT.encode("utf-16")), "the key is not"),
        ("key in Latin-1", structured({"tenantid": "é"}, key=b"\xe9"), "the key is not"),
        ("key in another Unicode form", structured({"tenantid": "é"}, key="e\u0301".encode()), "the key is not"),
        ("binary mode, key of another tenant", binary({}, key=CANARY.encode()), "the key is not"),
        ("binary mode, key is missing", binary({}, key=None), "no key: it must"),
    ],
)

_cases(  # one type a topic
    TypeMismatchError,
    [
        ("type of another topic", structured({"type": CLOSED}), "this topic carries"),
        ("type in another case", structured({"type": TOPIC.upper()}), "this topic carries"),
        ("type of another version", structured({"type": f"{TOPIC[:-1]}2"}), "this topic carries"),
        ("binary mode, type of another topic", binary({"type": CLOSED.encode()}), "this topic carries"),
        (
            "valid event on the wrong topic",
            structured({"type": CLOSED, "data": {"id": "1", "reason": CANARY, "statistics": {}}}),
            "this topic carries",
        ),
        (
            "valid event on the wrong topic in binary mode",
            binary({"type": CLOSED.encode()}, b'{"id":"1"}'),
            "this topic carries",
        ),
    ],
)

_cases(  # content types and the headers of binary mode
    InvalidEnvelopeError,
    [
        ("batch", _with_content_type(b"application/cloudevents-batch+json"), _FORMAT),
        (
            "batch, spelled Content-Type",
            raw(TEXT.encode(), ("Content-Type", b"Application/CloudEvents-Batch")),
            _FORMAT,
        ),
        ("Avro", _with_content_type(b"application/cloudevents+avro"), _FORMAT),
        ("Protobuf", _with_content_type(b"application/cloudevents+protobuf"), _FORMAT),
        ("XML", _with_content_type(b"application/cloudevents+xml"), _FORMAT),
        ("no such format", _with_content_type(b"application/cloudeventsjson"), _FORMAT),
        ("UTF-16 charset", _with_content_type(b"application/cloudevents+json; charset=utf-16"), _FORMAT),
        ("Latin-1 charset", _with_content_type(b'Application/CloudEvents+JSON;Charset="ISO-8859-1"'), _FORMAT),
        (
            "structured value called text/plain",
            _with_content_type(b"text/plain"),
            "id: Field required",
        ),
        *((f"no ce_{name}", binary({name: ...}), f"{name}: ") for name in ("specversion", "id", "source", "type")),
        ("no ce_tenantid", binary({"tenantid": ...}), "tenantid: Field required"),
        ("ce_specversion 0.3", binary({"specversion": b"0.3"}), "specversion: "),
        *((f"empty ce_{name}", binary({name: b""}), f"{name}: ") for name in ("id", "source", "type", "subject")),
        ("empty ce_tenantid", binary({"tenantid": b""}, key=b""), "tenantid: "),
        *((f"null ce_{name}", binary({name: None}), f"{name}: Field required") for name in ("id", "source", "type")),
        ("null ce_tenantid", binary({"tenantid": None}), "tenantid: Field required"),
        ("null ce_id before another", binary({"id": None}, b"{}", ("ce_id", b"1")), "header ce_id stands twice"),
        ("ce_id with a control character", binary({"id": f"{CANARY}\0".encode()}), f"id: must be {_TEXT}"),
        ("ce_id in broken UTF-8", binary({"id": CANARY.encode() + b"\xff"}), "header ce_id is not UTF-8"),
        ("ce_ extension in broken UTF-8", binary({"ext": b"\xed\xa0\x80"}), "header ce_ext is not UTF-8"),
        ("content-type in broken UTF-8", binary({}, content_type=b"a/b\xff"), "header content-type is not UTF-8"),
        ("content-type is no media type", binary({}, content_type=CANARY.encode()), "datacontenttype: must be"),
        ("empty content-type", binary({}, content_type=b""), "datacontenttype: must be"),
        ("ce_time without seconds", binary({"time": b"2026-03-02T12:00Z"}), _TIME),
        ("ce_time is empty", binary({"time": b""}), _TIME),
        ("ce_dataschema is relative", binary({"dataschema": b"schema.json"}), _SCHEMA),
        ("ce_source is no URI-reference", binary({"source": b"a b"}), _SOURCE),
        ("ce_id stands twice", binary({}, b"{}", ("ce_id", CANARY.encode())), "header ce_id stands twice"),
        ("ce_tenantid stands twice", binary({}, b"{}", ("ce_tenantid", TENANT.encode())), "ce_tenantid stands twice"),
        ("ce_data", binary({"data": CANARY.encode()}), "ce_data and ce_data_base64 are reserved"),
        ("ce_data_base64", binary({"data_base64": b"QQ=="}, None), "ce_data and ce_data_base64 are reserved"),
        ("ce_ without a name", binary({"": CANARY.encode()}), _NAMED),
        ("ce_Ext", binary({"Ext": CANARY.encode()}), _NAMED),
        ("ce_my_ext", binary({"my_ext": CANARY.encode()}), _NAMED),
        ("ce_ extension with a control character", binary({"ext": f"{CANARY}\r\n".encode()}), _VALUE),
        ("ce_ headers alone", raw(None, ("ce_id", b"1")), "source: Field required"),
        (
            "NUL in the charset",
            binary({}, content_type=b"text/plain; charset=a\0b"),
            _MEDIA,
        ),
    ],
)
