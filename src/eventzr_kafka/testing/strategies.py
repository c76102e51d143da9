"""hypothesis strategies: `payloads` and `events` for valid events, `malformed_records` for records to be refused.

1. All `payloads` and `events` are valid on the wire: texts without lone surrogates, Decimals of at most 15 digits,
   moments in UTC with milliseconds, finite floats.
2. The strategy of a field follows its annotation and the constraints of its `Field`. A value that a validator refuses
   is drawn anew.
3. Other types are left to hypothesis; register theirs with `hypothesis.strategies.register_type_strategy`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import AwareDatetime, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from eventzr_kafka.errors import ConfigurationError, MissingExtraError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData, topic_of

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError:
    raise MissingExtraError("testing", "eventzr_kafka.testing.strategies") from None

from eventzr_kafka.events.event_model import ATTRIBUTES
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.testing._malformations import MALFORMATIONS

__all__ = ["events", "json_values", "malformed_records", "payloads"]

EventT = TypeVar("EventT", bound=EventData)

_MOST = 3  # items of a list without bounds
_DIGITS = 15  # of a Decimal that JSON carries exactly
_YEARS_MS = 7000 * 365 * 24 * 3600 * 1000
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)  # of an attribute
_INT32 = 2**31
_RESERVED = ATTRIBUTES


def payloads(kind: type[EventT]) -> SearchStrategy[EventT]:
    """Draw payloads of one class; optional fields are sometimes left out."""
    made: SearchStrategy[EventT] = _model(cast("Any", kind))  # pyright takes a class of dataclass form as unhashable
    return made


def events(kind: type[EventT]) -> SearchStrategy[CloudEvent[EventT]]:
    """Draw whole events of one class, some with extension attributes.

    In binary mode extension values become texts: the CloudEvents Kafka binding says so.

    Raises:
        ConfigurationError: The class declares no topic.
    """
    topic = topic_of(kind)
    if topic is None:
        raise ConfigurationError(f"{kind.__qualname__} declares no topic, so it is not an event")
    attributes = {
        "id": _LINE,
        "source": st.just(kind.__source__ or "test"),
        "type": st.just(topic),
        "tenantid": _LINE,
        "datacontenttype": st.just("application/json"),
        "data": payloads(kind),
    }
    optional = {"time": _moments(), "subject": _LINE}
    if kind.__dataschema__ is not None:
        optional["dataschema"] = st.just(kind.__dataschema__)

    def build(given: dict[str, Any], more: dict[str, Any]) -> CloudEvent[EventT]:
        return CloudEvent(**given, **more)

    return st.builds(build, st.fixed_dictionaries(attributes, optional=optional), _extensions())


def malformed_records(*kinds: type[EventData]) -> SearchStrategy[Record]:
    """Draw records that `decode` must refuse with a `DecodeError`: each is a valid event with one fault.

    Args:
        kinds: Classes of the events; without any, all declared ones, those of installed packages too.
    """
    chosen = st.sampled_from(kinds) if kinds else st.deferred(_declared)
    return chosen.flatmap(lambda kind: st.builds(_spoil, events(kind), st.sampled_from(list(MALFORMATIONS))))


def json_values() -> SearchStrategy[Any]:
    """Draw values of a field of type ``Any``."""
    numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | _TEXT
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=_MOST) | st.dictionaries(_TEXT, inner, max_size=_MOST)
    )


def _spoil(event: CloudEvent[Any], name: str) -> Record:
    return MALFORMATIONS[name](event)


def _declared() -> SearchStrategy[type[EventData]]:
    from eventzr_kafka.events.catalogue import known_events  # noqa: PLC0415 -- imports the installed packages

    return st.sampled_from(list(known_events().values()))


def _extensions() -> SearchStrategy[dict[str, Any]]:
    names = st.from_regex("[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in _RESERVED)
    return st.dictionaries(names, st.just("") | _LINE | st.booleans() | st.integers(-_INT32, _INT32 - 1), max_size=2)


# From annotations to strategies


@cache
def _model(kind: type[EventData]) -> SearchStrategy[Any]:
    named = kind.__subject__ or ""
    fields = {
        name: _strategy_for(field.annotation, [*field.metadata, *([_Line()] if f"{{{name}}}" in named else [])])
        for name, field in kind.model_fields.items()
    }
    required = {name: fields[name] for name, field in kind.model_fields.items() if field.is_required()}
    optional = {name: fields[name] for name in fields.keys() - required.keys()}

    @st.composite
    def build(draw: DrawFn) -> EventData:
        given = draw(st.fixed_dictionaries(required, optional=dict(sorted(optional.items()))).filter(_fits(kind)))
        return kind.model_validate(given)

    return build()


def _fits(kind: Any) -> Callable[[Any], bool]:
    adapter = TypeAdapter[Any](kind)

    def fits(value: Any) -> bool:
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    return fits


class _Line:
    """Metadata of a field that is part of the subject: an attribute, so not empty and without control characters."""

    min_length = 1


def _strategy_for(annotation: Any, metadata: Sequence[Any] = ()) -> SearchStrategy[Any]:
    """Make the strategy for an annotation; its values are valid for the annotation."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _strategy_for(inner, [*_flatten(more), *metadata])
    strategy = _unchecked_strategy(annotation, metadata)
    constraints = [part for part in metadata if not isinstance(part, _Line)]
    return strategy.filter(_fits(Annotated[(annotation, *constraints)])) if constraints else strategy


def _flatten(metadata: Sequence[Any]) -> list[Any]:
    """List the constraints, with those inside a `Field`."""
    return [one for part in metadata for one in (part.metadata if isinstance(part, FieldInfo) else [part])]


def _unchecked_strategy(annotation: Any, metadata: Sequence[Any]) -> SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return st.one_of([_strategy_for(part, metadata if part is not type(None) else ()) for part in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (list, tuple, set, frozenset, dict) and arguments:
        return _collection(origin, arguments, metadata)
    if annotation is Any:
        return json_values()
    if isinstance(annotation, type):
        return _of_class(annotation, metadata)
    return st.from_type(annotation)


def _of_class(kind: type[Any], metadata: Sequence[Any]) -> SearchStrategy[Any]:
    if issubclass(kind, EventData):
        return payloads(kind)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    make = _BY_CLASS.get(kind)
    return make(metadata) if make is not None else st.from_type(kind)


def _collection(origin: Any, arguments: Sequence[Any], metadata: Sequence[Any]) -> SearchStrategy[Any]:
    least = _limit_of(metadata, "min_length", 0)
    most = _limit_of(metadata, "max_length", least + _MOST)
    if origin is dict:
        return st.dictionaries(_strategy_for(arguments[0]), _strategy_for(arguments[1]), min_size=least, max_size=most)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return cast("SearchStrategy[Any]", st.tuples(*map(_strategy_for, arguments)))
    unique = origin in (set, frozenset)
    items = st.lists(_strategy_for(arguments[0]), min_size=least, max_size=most, unique=unique)
    return items if origin is list else items.map(cast("Callable[[list[Any]], Any]", origin))


def _limit_of(metadata: Sequence[Any], name: str, otherwise: Any) -> Any:
    """The last value of a limit in the metadata."""
    found: list[Any] = [value for part in metadata if (value := getattr(part, name, None)) is not None]
    return found[-1] if found else otherwise


def _texts(metadata: Sequence[Any]) -> SearchStrategy[str]:
    pattern: str | None = _limit_of(metadata, "pattern", None)
    if pattern is not None:
        return st.from_regex(pattern, fullmatch=True)
    least = _limit_of(metadata, "min_length", 0)
    most = _limit_of(metadata, "max_length", least + 30)
    line = any(isinstance(part, _Line) for part in metadata)
    excluded: list[Any] = ["Cs", "Cc"] if line else ["Cs"]
    return st.text(st.characters(exclude_categories=excluded), min_size=least, max_size=most)


def _bounds(metadata: Sequence[Any]) -> tuple[Any, Any]:
    return _limit_of(metadata, "ge", _limit_of(metadata, "gt", None)), _limit_of(
        metadata, "le", _limit_of(metadata, "lt", None)
    )


def _integers(metadata: Sequence[Any]) -> SearchStrategy[int]:
    lowest, highest = _bounds(metadata)
    return st.integers(-(2**53) if lowest is None else lowest, 2**53 if highest is None else highest)


def _decimals(metadata: Sequence[Any]) -> SearchStrategy[Decimal]:
    """Draw Decimals of few digits: a whole number of the smallest unit, between the bounds."""
    places = st.integers(0, _limit_of(metadata, "decimal_places", 4))
    digits = min(_limit_of(metadata, "max_digits", _DIGITS), _DIGITS)
    lowest, highest = _bounds(metadata)

    def of_unit(unit: int) -> SearchStrategy[Decimal]:
        least, most = -(10**digits) + 1, 10**digits - 1
        least = least if lowest is None else max(least, int(lowest * 10**unit))
        most = most if highest is None else min(most, int(highest * 10**unit))
        return st.integers(least, most).map(lambda number: Decimal(number).scaleb(-unit))

    return places.flatmap(of_unit)


def _floats(metadata: Sequence[Any]) -> SearchStrategy[float]:
    lowest, highest = _bounds(metadata)
    return st.floats(lowest, highest, allow_nan=False, allow_infinity=False)


def _moments(_metadata: Sequence[Any] = ()) -> SearchStrategy[datetime]:
    return st.integers(0, _YEARS_MS).map(lambda ms: _FIRST + timedelta(milliseconds=ms))


_BY_CLASS: Mapping[Any, Callable[[Sequence[Any]], SearchStrategy[Any]]] = {
    bool: lambda _: st.booleans(),
    str: _texts,
    int: _integers,
    float: _floats,
    Decimal: _decimals,
    datetime: _moments,
    AwareDatetime: _moments,
}
