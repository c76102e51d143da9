"""Strictness of a payload's constructor, and of nothing else.

1. ``OrderCreated(…)`` refuses keywords that the class does not know, and a field that is given by name and by alias.
2. A field declared as `Written` must be given, and not as None; one declared as `WrittenOrNone` must be given.
3. An amount must have no more digits than its currency has.
4. Reading does not come this way (``model_validate``, ``model_validate_json``, the decoder), nor do ``model_copy``,
   pickling and forwarding: there these fields may be absent, and unknown fields are kept.
5. Keywords are the names of fields and their aliases, as for any model of pydantic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias, TypeVar, cast

from pydantic import AliasChoices, AliasPath, BaseModel, Field, PrivateAttr
from pydantic.fields import FieldInfo
from typing_extensions import dataclass_transform

from eventzr_kafka.errors import EventzrKafkaError
from eventzr_kafka.events.amounts import rounded, take_rounded
from eventzr_kafka.safe_text import list_some, printable

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = [
    "EventDataMeta",
    "PayloadError",
    "Written",
    "WrittenOrNone",
    "demands_value",
    "is_written",
    "require_written",
]

T = TypeVar("T")


class PayloadError(EventzrKafkaError):
    """A payload class was called with wrong keywords, without a field that it is written with, or a wrong amount.

    Only the constructor raises it; events that are read may have more fields, and fewer.

    Attributes:
        payload_class: Qualified name of the class.
        unknown: The unknown keywords, each with the field that it may misspell, or None.
        missing: Python names of the missing fields.
        too_fine: Amounts with more digits than their currency has, as ``Class.fieldOnTheWire``.
        repeated: Python names of the fields that have two keywords, such as name and alias.
    """

    def __init__(
        self,
        payload_class: str,
        unknown: Mapping[str, str | None] | None = None,
        missing: Sequence[str] = (),
        too_fine: Sequence[str] = (),
        repeated: Sequence[str] = (),
    ) -> None:
        self.payload_class = payload_class
        self.unknown = dict(unknown or {})
        self.missing = tuple(missing)
        self.too_fine = tuple(too_fine)
        self.repeated = tuple(repeated)
        problems = [
            f"unknown field {printable(name)!r}" + (f" (did you mean {near!r}?)" if near else "")
            for name, near in self.unknown.items()
        ]
        if missing:
            problems.append(f"missing when published: {', '.join(missing)}")
        problems += [f"{name} is given twice, by name and by alias" for name in repeated]
        problems += [f"{field} has more digits than its currency: round it" for field in self.too_fine]
        super().__init__(f"{payload_class}: {list_some(problems, separator='; ')}")


class _WrittenMark:
    """Metadata of a field that its constructor demands."""

    def __init__(self, *, allows_none: bool) -> None:
        self.allows_none = allows_none


Written: TypeAlias = Annotated[T | None, Field(default=None), _WrittenMark(allows_none=False)]
"""``final_amount: Written[Money]``: required when an event is made, absent (None) perhaps when one is read."""

WrittenOrNone: TypeAlias = Annotated[T | None, Field(default=None), _WrittenMark(allows_none=True)]
"""As `Written`, but None is a value: the constructor demands that the field is given."""


def require_written(payload: BaseModel) -> None:
    """Hold a payload that was read against the rules of its constructor; the parts inside of it are not looked at.

    Raises:
        PayloadError: A field is unknown, or missing.
    """
    kind = type(payload)
    given = {name: getattr(payload, name) for name in sorted(payload.model_fields_set)}
    keywords = _keywords_of(kind)
    if not keywords.fit(given):
        raise keywords.error(given)


def is_written(field: FieldInfo) -> bool:
    """Return True for a field that the constructor demands and reading does not."""
    return _mark_of(field) is not None


def demands_value(field: FieldInfo) -> bool:
    """Return True for a field that the constructor demands, and not as None."""
    mark = _mark_of(field)
    return mark is not None and not mark.allows_none


def _mark_of(field: FieldInfo) -> _WrittenMark | None:
    return next((part for part in field.metadata if isinstance(part, _WrittenMark)), None)


@dataclass_transform(kw_only_default=True, field_specifiers=(Field, PrivateAttr))
class EventDataMeta(ModelMetaclass):
    """Type of the payload classes; calling one is what makes a payload."""

    if not TYPE_CHECKING:  # to a type checker, the constructor is the one that dataclass_transform describes

        def __call__(cls, /, *args: Any, **fields: Any) -> Any:  # noqa: N805 -- of a metaclass
            """Make a payload.

            Raises:
                PayloadError: A keyword is unknown, or a field is missing.
                pydantic.ValidationError: A value does not fit its field.
            """
            keywords = cls.__dict__.get("__keywords__") or _keywords_of(cls)
            if not args and not keywords.fit(fields):
                raise keywords.error(fields)
            before = take_rounded() if rounded.places else None  # also of a payload whose validator makes this one
            try:
                payload = type.__call__(cls, *args, **fields)
            finally:
                too_fine = take_rounded() if rounded.places else None
                if before:
                    rounded.places = before
            if too_fine:
                raise PayloadError(cls.__qualname__, too_fine=too_fine)
            return payload


def _keywords_of(cls: Any) -> _Keywords:
    known: _Keywords | None = cls.__dict__.get("__keywords__")
    if known is None:
        if not cls.__pydantic_complete__:
            cls.model_rebuild()
        cls.__keywords__ = known = _Keywords(cls)
    return known


class _Demand(NamedTuple):
    """A field that must be given, by one of its keywords."""

    name: str
    keywords: frozenset[str]
    allows_none: bool

    def is_unmet(self, given: dict[str, Any]) -> bool:
        found = [given[keyword] for keyword in self.keywords & given.keys()]
        return not found or (found[0] is None and not self.allows_none)


class _Keywords:
    """The keywords that a class takes, and those that it demands."""

    def __init__(self, cls: type[BaseModel]) -> None:
        self._class = cls
        self._names = {name: frozenset(_names_of(cls, name, field)) for name, field in cls.model_fields.items()}
        self._known = frozenset[str]().union(*self._names.values())
        self._usual = frozenset(next(_names_of(cls, name, field)) for name, field in cls.model_fields.items())
        marks = {name: mark for name, field in cls.model_fields.items() if (mark := _mark_of(field)) is not None}
        self._demanded = [_Demand(name, self._names[name], mark.allows_none) for name, mark in marks.items()]
        self._demanded_names = tuple(marks)

    def fit(self, given: dict[str, Any]) -> bool:
        if not given.keys() <= self._usual and (not given.keys() <= self._known or self._repeated(given)):
            return False
        for name in self._demanded_names:
            if given.get(name) is None and any(demand.is_unmet(given) for demand in self._demanded):
                return False
        return True

    def _repeated(self, given: dict[str, Any]) -> list[str]:
        """The fields with two keywords: pydantic would take one, and keep the other as an unknown field."""
        return [name for name, keywords in self._names.items() if len(keywords & given.keys()) > 1]

    def error(self, given: dict[str, Any]) -> PayloadError:
        from difflib import get_close_matches  # noqa: PLC0415 -- 1 ms, for an error alone

        unknown = [name for name in given if name not in self._known]
        absent = [name for name, field in self._class.model_fields.items() if field.is_required()]
        missing = [name for name in absent if given.keys().isdisjoint(self._names[name])]
        missing += [demand.name for demand in self._demanded if demand.is_unmet(given)]
        known = list(self._class.model_fields)
        meant = {name: get_close_matches(name, known, n=1) for name in unknown}
        hints = {name: found[0] if found else None for name, found in meant.items()}
        missing = [name for name in known if name in missing]
        return PayloadError(self._class.__qualname__, hints, missing, repeated=self._repeated(given))


def _names_of(cls: type[BaseModel], name: str, field: FieldInfo) -> Iterator[str]:
    alias = field.validation_alias or field.alias
    if cls.model_config.get("validate_by_alias") is False:
        alias = None
    if alias is None or cls.model_config.get("validate_by_name") or cls.model_config.get("populate_by_name"):
        yield name
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    for choice in choices:
        if isinstance(choice, AliasPath):
            yield cast("str", choice.path[0])
        elif choice is not None:
            yield choice
