"""`Limits` of one record, and how strictly it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["DEFAULT_LIMITS", "PARSER_DEPTH", "Limits", "LoneSurrogates"]

LoneSurrogates: TypeAlias = Literal["refuse", "replace"]

PARSER_DEPTH = 200  # levels at which pydantic-core's parser gives up, without recursing


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one record, held before it is parsed. Its JSON nests 200 levels at most, the parser's own bound.

    Attributes:
        max_bytes: Bytes of the value; 1 MiB is what a Kafka broker takes by default.
        max_headers: Headers of one record.
        max_header_bytes: Bytes of all header names and values together.
        max_containers: Arrays and objects in the value; each costs several times its bytes to read.
    """

    max_bytes: int = 1_048_576
    max_headers: int = 128
    max_header_bytes: int = 65_536
    max_containers: int = 65_536


DEFAULT_LIMITS = Limits()
