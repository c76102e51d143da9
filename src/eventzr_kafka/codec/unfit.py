"""The part of a payload that JSON cannot carry, named by its place; looked for once writing has failed.

A place is made of the names of fields and the numbers of items. A key of a dict may be payload: it is ``*``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from eventzr_kafka.events.event import format_time
from eventzr_kafka.events.json_numbers import json_number

__all__ = ["find_unfit"]

_MOST = 100_000  # values that are looked at
_DEEPEST = 200
_FINITE = "NaN or Infinity, which JSON does not have"


def find_unfit(data: Any) -> str | None:
    """Place and fault of the first value that JSON cannot carry, such as ``data.price: …``; None if none is found."""
    waiting: list[tuple[Any, str, int]] = [(data, "data", 0)]
    for _ in range(_MOST):
        if not waiting:
            return None
        value, place, depth = waiting.pop()
        fault = _fault(value)
        if fault is not None or depth > _DEEPEST:
            return f"{place[:200]}: {fault or 'nests too deep, or holds itself'}"
        waiting.extend((part, f"{place}.{name}", depth + 1) for name, part in reversed([*_parts(value)]))
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        known = type(value).model_fields
        for name, part in value.__dict__.items():
            yield (known[name].serialization_alias or name) if name in known else "*", part
        for name, part in (value.__pydantic_extra__ or {}).items():
            yield name if name.isidentifier() and name.isascii() else "*", part
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield each.name, getattr(value, each.name)
    elif isinstance(value, dict):
        members: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType] -- isinstance says no more
        for key, part in members.items():
            yield "*", key
            yield "*", part
    elif isinstance(value, list | tuple | set | frozenset):
        for at, part in enumerate(cast("list[Any]", value)):
            yield str(at), part


def _fault(value: Any) -> str | None:
    for kind, check in _CHECKS:
        if isinstance(value, kind):
            return check(value)
    if is_dataclass(value) or isinstance(value, _CONTAINERS):
        return None
    try:
        to_jsonable_python(value)
    except Exception:  # noqa: BLE001 -- of a class that cannot be written
        return f"a {type(value).__qualname__} has no JSON form"
    return None


def _fault_of_text(value: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "a lone surrogate, which UTF-8 cannot carry"
    return None


def _fault_of_bytes(value: bytes) -> str | None:
    try:
        value.decode()
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    return None


def _fault_of_time(value: datetime) -> str | None:
    try:
        format_time(value)
    except (OverflowError, ValueError):
        return "a time outside of UTC's years 1 to 9999"
    return None


def _fault_of_decimal(value: Decimal) -> str | None:
    if not value.is_finite():
        return _FINITE
    try:
        json_number(value)
    except ValueError:
        return "a Decimal of more than 15 digits, which a JSON number does not carry exactly"
    return None


_CONTAINERS = (BaseModel, dict, list, tuple, set, frozenset)
_CHECKS: tuple[tuple[type, Callable[[Any], str | None]], ...] = (
    (Decimal, _fault_of_decimal),
    (float, lambda value: None if isfinite(value) else _FINITE),
    (str, _fault_of_text),
    (bytes, _fault_of_bytes),
    (datetime, _fault_of_time),
)
