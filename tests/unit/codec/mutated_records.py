"""Records that are nearly right: is each one read the quick way exactly as it is read the careful way?

``python -m tests.unit.codec.mutated_records --records 1000000`` (`make fuzz`) looks for one where the two ways differ.
The records are those of all declared events, as this SDK and others write them, each changed at up to three places. A
seed makes the same records again.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from random import Random
from typing import Any

from cloudevents.core.bindings.kafka import to_structured
from cloudevents.core.formats.json import JSONFormat
from pydantic import BaseModel
from typing_extensions import TypedDict

from eventzr_kafka import CloudEvent, Record, encode
from eventzr_kafka.codec.decoder import Decoder, decoder_for
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.limits import DEFAULT_LIMITS
from eventzr_kafka.errors import DecodeError
from eventzr_kafka.events.amounts import take_rounded
from eventzr_kafka.events.catalogue import known_events
from eventzr_marketplace_events import example

TENANT = "tenant-1"
_CHUNK = 10_000  # records of one seed
_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_MOST_CHANGES = 3

Member = tuple[str, str]  # name and value, both as JSON


class Loose(TypedDict, total=False):
    """A payload class that takes its configuration from the event's."""

    id: str


@dataclass
class Count:
    """Records that were looked at, and those of them that were read the quick way."""

    records: int = 0
    quick: int = 0


# Records as they are written


@cache
def seeds() -> list[tuple[str, list[Member]]]:
    """Return the topic of each record and its members: 18 events in six forms."""
    found: list[tuple[str, list[Member]]] = []
    for topic, kind in sorted(known_events().items()):
        if not kind.__module__.startswith("eventzr_marketplace_events"):
            continue
        event = CloudEvent(
            id="a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            source=kind.__source__ or "svc",
            type=topic,
            time=_NOON,
            datacontenttype="application/json",
            subject="listing:1",
            tenantid=TENANT,
            data=example(kind),
        )
        causal = event.with_extensions(correlationid="c-1", causationid="c-2", traceparent="00-0af7-b7ad-01")
        ours, of_a_handler = (dict(members_of(encode(each).value or b"")) for each in (event, causal))
        foreign = to_structured(event.to_cloudevents(), JSONFormat()).value or b""
        javascript = ('"id"', '"time"', '"type"', '"source"', '"specversion"', '"datacontenttype"', '"subject"')
        go = ('"specversion"', '"id"', '"source"', '"type"', '"subject"', '"datacontenttype"', '"time"', '"data"')
        of_go = {**ours, '"time"': '"2026-03-02T12:00:00.123456789Z"'}
        of_java = {**ours, '"time"': '"2026-03-02T12:00:00Z"', '"dataschema"': '"https://a.example/s"'}
        of_dapr = {**ours, '"topic"': f'"{topic}"', '"pubsubname"': '"pubsub"', '"traceid"': '"00-1"', '"flag"': "true"}
        forms = [
            *(list(each.items()) for each in (ours, of_a_handler, of_java, of_dapr)),
            [(name, ours[name]) for name in (*javascript, '"tenantid"', '"data"')],
            [(name, of_go[name]) for name in (*go, '"tenantid"')],
            members_of(foreign),
        ]
        found += [(topic, form) for form in forms]
    return found


def members_of(value: bytes) -> list[Member]:
    """Return the members of a JSON object, each as compact JSON."""
    compact = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
    return [(json.dumps(name), compact(part)) for name, part in json.loads(value).items()]


# What is changed

_TEXTS = [
    '""', '" "', '"a"', '"\\u0000"', '"\\n"', '"\x7f"', '"\\u007f"', '"\x85"', '"\\u0085"', '"é"', '"\\u00e9"',
    '"\\ud83c"', '"\\ud83c\\udf89"', '"🎉"', '"\u2028"', '"\xa0"', '"a\\"b"', '"\\\\"', '"\\q"', '"\x01"', '"\ufeff"',
    "null", "true", "false", "0", "-0", "1", "01", "1.0", "1e2", "-2147483648", "2147483647", "2147483648", "1e999",
    "NaN", "Infinity", "-Infinity", "[]", "{}", "[1]", '{"a":1}', '{"tenantid":"x"}', '"data"', '"tenantid"', "",
    '"application/json"', '"text/plain; charset=x"', '"https://a.example/b?c#d"', '"a b"', '"a[b"', '"%zz"', '"1.0"',
    '"0.3"', '"' + "x" * 300 + '"', '"QUJD"',
]  # fmt: skip
_TIMES = [
    "2026-03-02T12:00:00.000Z", "2026-03-02 12:00:00.000Z", "2026-03-02t12:00:00.000z", "2026-03-02T12:00:00Z",
    "2026-03-02T12:00:00.1234567Z", "2026-03-02T12:00:00.123456Z", "2026-03-02T12:00:00.12345Z", "2026-03-02T12:00:60Z",
    "2016-12-31T23:59:60.000Z", "2026-03-02T24:00:00.000Z", "2026-03-02T24:00:00Z", "2026-02-30T12:00:00.000Z",
    "2026-03-02T12:00:00+02:00", "2026-03-02T12:00:00.000+00:00", "2026-03-02T12:00:00-0500", "2026-03-02T12:00Z",
    "2026-03-02T12:00:00,000Z", "2026-03-02_12:00:00.000Z", "2026-W10-1T12:00:00.00Z", "20260302T120000.000000Z",
    "0000-03-02T12:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2026-03-02T12:00:00.-00Z",
    "2026-03-02T12:00:00.+00Z", "٢026-03-02T12:00:00.000Z", "2026-03-02T12:00:00+24:00", "2026-03-02T12:00:00+23:59",
    "2026-03-02T12:00:00.000", "2026-03-02T12:00:00.00 Z", "0001-01-01T00:00:00+14:00", "1772452800", "",
    "2026-03-02T23:59:60.000Z", "2026-03-02T12:00:00.000Z\\n", "2026-03-02T12:00:00+05:30:10", "2026-03-02T12:60:00Z",
]  # fmt: skip
_NAMES = [
    '"tenantid"', '"\\u0074enantid"', '"data"', '"d\\u0061ta"', '"data_base64"', '"id"', '"\\u0069d"', '"region"',
    '"Region"', '"_rest"', '"_expirytime"', '"expirytime"', '"tracestate"', '"partitionkey"', '"dataref"', '""',
    '"specversion"', '"subject"', '"time"', '"dataschema"', '"é"', '"has_data"', '"extensions"', '"a b"', '"x\\n"',
    '"traceparent"', '"correlationid"', '"x"',
]  # fmt: skip
_BYTES = [
    b"\x00", b"\x7f", b"\xff", b"\xc2\x85", b"\xed\xa0\x80", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ",
    b"\n", b"\t", b"\xef\xbb\xbf", b"\\u0000", b"\\u", b"\\ud800", b'"tenantid":"evil",', b'"data":{},', b"NaN", b"//",
    b"\x0c", b"\xc2\xa0", b"e", b"0", b"\xc3", b'"id":"other",',
]  # fmt: skip


def change_members(random: Random, members: list[Member]) -> None:
    """Change the members of an event at one place."""
    at = random.randrange(len(members)) if members else 0
    name, value = members[at] if members else ('"x"', '"y"')
    kind = random.randrange(9)
    if kind == 0:
        members[at:at] = [(random.choice(_NAMES), random.choice(_TEXTS))]
    elif kind == 1:
        members.insert(random.randint(0, len(members)), (name, random.choice([value, *_TEXTS])))
    elif kind == 2:
        members[at : at + 1] = []
    elif kind == 3:
        members[at : at + 1] = [(name, random.choice(_TEXTS))]
    elif kind == 4:
        members.append(('"time"', json.dumps(random.choice(_TIMES), ensure_ascii=False).replace("\\\\", "\\")))
    elif kind == 5:
        random.shuffle(members)
    elif kind == 6:
        members[:] = [(n, f'"{random.choice(_TIMES)}"' if n == '"time"' else v) for n, v in members]
    elif kind == 7:
        members[:] = [(n, change_data(random, v) if n == '"data"' else v) for n, v in members]
    else:
        escaped = json.dumps(json.loads(value) if _is_json(value) else value, ensure_ascii=True)
        members[at : at + 1] = [(name, escaped)]


def change_data(random: Random, value: str) -> str:
    """Change a payload at one place, or make it deep."""
    depth = random.choice([1, 3, 190, 197, 198, 199, 200, 201, 400])
    kind = random.randrange(4)
    if kind == 0:
        return "[" * depth + "]" * depth
    addition = f'"more":{"[" * depth}{"]" * depth}' if kind == 1 else f'"x":{random.choice(_TEXTS)}'
    if kind == 2:
        addition = f"{random.choice(_NAMES)}:{random.choice(_TEXTS)}"
    return f"{value[:-1]},{addition}}}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def write(random: Random, members: list[Member]) -> bytes:
    """Write the members as JSON, with or without blanks."""
    comma, colon = random.choice([(",", ":")] * 6 + [(", ", ": "), (",\n  ", ": "), (" , ", "\t:")])
    text = comma.join(f"{name}{colon}{value}" for name, value in members)
    return f"{{{text}}}".encode("utf-8", "surrogatepass")


def change_bytes(random: Random, value: bytes) -> bytes:
    """Change a value at one place, whatever it is."""
    at = random.randint(0, len(value))
    kind = random.randrange(4)
    if kind == 0:
        return value[:at] + random.choice(_BYTES) + value[at:]
    if kind == 1:
        return value[:at] + bytes([random.randrange(256)]) + value[at + 1 :]
    end = min(len(value), at + random.randint(1, 8))
    return value[:at] + value[end:] if kind == 2 else value[:end] + value[at:]


def mutated_records(seed: int, count: int) -> Iterator[tuple[str, Record]]:
    """Make records, each with the topic of the event that it was."""
    random = Random(seed)  # noqa: S311 -- to be repeated
    for _ in range(count):
        topic, form = random.choice(seeds())
        members = list(form)
        for _ in range(random.randint(0, _MOST_CHANGES)):
            change_members(random, members)
        value = write(random, members)
        if random.random() < 0.2:
            value = change_bytes(random, value)
        yield topic, Record(topic, 0, 0, _key(random, members), value, STRUCTURED_HEADERS)


def _key(random: Random, members: list[Member]) -> bytes:
    tenants = [value for name, value in members if name == '"tenantid"' and value.startswith('"') and _is_json(value)]
    tenant = json.loads(random.choice(tenants)) if tenants else TENANT
    return str(tenant).encode("utf-8", "replace")


# Both ways


@cache
def decoders(topic: str) -> list[Decoder]:
    """Return decoders of one topic: of the declared class, of plain JSON, and of a class without configuration."""
    kind = known_events()[topic]
    sources = frozenset({kind.__source__ or "svc"})
    few = DEFAULT_LIMITS.__class__(max_containers=4, max_bytes=700)
    return [
        decoder_for(kind, event_type=topic),
        decoder_for(kind, event_type=topic, sources=sources, lone_surrogates="replace"),
        decoder_for(Any, event_type=None),
        decoder_for(Loose, event_type=topic),
        decoder_for(kind, event_type=topic, limits=few),
    ]


def read_quickly(decoder: Decoder, record: Record) -> CloudEvent[Any] | None:
    """Read a record the quick way, or return None."""
    event: CloudEvent[Any] | None = _quick_reader(decoder)(record)
    return event


@cache
def _quick_reader(decoder: Decoder) -> Callable[[Record], CloudEvent[Any] | None]:
    return decoder.quick_reader(lambda _record: None)


def difference(decoder: Decoder, record: Record) -> str | None:
    """Name the difference between the two ways; an empty text if there is none, None if only one way reads it."""
    take_rounded()  # of a record that the quick way left to the careful one
    quick = read_quickly(decoder, record)
    if quick is None:
        return None
    try:
        careful = decoder.read_carefully(record)
    except DecodeError as error:
        return f"only the quick way reads it: {type(error).__name__}: {error.reason}"
    return "" if parts_of(quick) == parts_of(careful) else f"{parts_of(quick)} is not {parts_of(careful)}"


def parts_of(event: CloudEvent[Any]) -> list[Any]:
    """Return all that tells an event from another, types and absent fields too."""
    extensions = sorted((name, repr(value)) for name, value in event.extensions.items())
    given = sorted(event.data.model_fields_set) if isinstance(event.data, BaseModel) else []
    names = ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "tenantid", "has_data")
    slots = ("traceparent", "tracestate", "partitionkey", "correlationid", "causationid", "dataref", "expirytime")
    return [*(getattr(event, name) for name in (*names, *slots)), event.time, extensions, given, repr(event.data)]


def look(seed: int, count: int = _CHUNK) -> tuple[Count, list[str]]:
    """Read the records of one seed both ways; return the differences."""
    found, seen = Count(), list[str]()
    for topic, record in mutated_records(seed, count):
        decoder = decoders(topic)[found.records % 5]
        different = difference(decoder, record)
        found.records += 1
        found.quick += different is not None
        if different:
            seen.append(f"seed {seed}, record {found.records}: {different}\n  {record.value!r}")
    return found, seen


def main() -> int:
    """Look at many records in all processors; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    total: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for count, differences in pool.map(look, range(asked.seed, asked.seed + -(-asked.records // _CHUNK))):
            total.update(records=count.records, quick=count.quick, differences=len(differences))
            for difference_ in differences[:3]:
                sys.stdout.write(f"{difference_}\n")
    sys.stdout.write(f"{total['records']:,} records, {total['quick']:,} of them read the quick way; ")
    sys.stdout.write(f"{total['differences']:,} differences\n")
    return 1 if total["differences"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
