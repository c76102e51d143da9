"""`UsageError`, and the faults of a validation in one line."""

from __future__ import annotations

from pydantic import ValidationError

from eventzr_kafka.errors import ConfigurationError

__all__ = ["UsageError", "describe_faults"]


class UsageError(ConfigurationError):
    """The command line, or a file that it names, is wrong."""


def describe_faults(error: ValidationError) -> str:
    """The faults in one line, each with its place; a wrong value is not quoted, because it may be a payload's."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    places = [(".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in faults]
    return "; ".join(": ".join(filter(None, place)) for place in places)
