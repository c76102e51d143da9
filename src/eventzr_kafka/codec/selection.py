"""The choice of the events that a handler wants, on the plain JSON of each event, before its payload is validated.

1. The order of faults stays that of `decoder`: envelope, key, then the predicate, then source and payload.
2. True: the event is read as any other. False: the record is *skipped*, whatever its source and payload are.
3. An error of the predicate is an error of the handler, not of the record. So is a result that is not a bool.
4. A payload that is not JSON at all cannot be chosen by what is in it: the record is refused as without a predicate.

A route without a predicate uses its `Decoder` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, TypeAlias

from eventzr_kafka.codec.decoder import Decoder
from eventzr_kafka.errors import InvalidDataError, RecordTooLargeError, Reject
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.kafka.record import Record

__all__ = ["EventReader", "FailedPredicate", "Predicate", "SelectiveDecoder", "UnwantedEvent"]

Predicate: TypeAlias = Callable[[CloudEvent[Any]], bool]
EventReader: TypeAlias = Callable[[Record], CloudEvent[Any]]


class UnwantedEvent(Exception):  # noqa: N818 -- an outcome, not a fault
    """The predicate does not want the event, which is given as plain JSON."""

    def __init__(self, event: CloudEvent[Any]) -> None:
        self.event = event
        super().__init__()


class FailedPredicate(Exception):  # noqa: N818 -- its cause is the error
    """The predicate raised the cause of this error; the event is given as plain JSON."""

    def __init__(self, event: CloudEvent[Any], cause: BaseException) -> None:
        self.event = event
        self.cause = cause
        super().__init__()


class SelectiveDecoder:
    """A decoder that reads a record twice: as plain JSON for the predicate, then as the class of its payload."""

    def __init__(self, decoder: Decoder, when: Predicate, label: str) -> None:
        """Put a predicate before a decoder.

        Args:
            label: Name of the handler, for errors.
        """
        self._read = decoder
        self._read_plainly = decoder.as_plain_json()
        self._when = when
        self._label = label

    def __call__(self, record: Record) -> CloudEvent[Any]:
        """Read one record.

        Raises:
            DecodeError: As for any decoder.
            UnwantedEvent: The predicate does not want it.
            FailedPredicate: The predicate failed.
        """
        try:
            event = self._read_plainly(record)
        except (InvalidDataError, RecordTooLargeError):
            return self._read(record)
        try:
            wanted: object = self._when(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise FailedPredicate(event, error) from error
        if wanted is True:
            return self._read(record)
        raise UnwantedEvent(event) if wanted is False else FailedPredicate(event, _not_a_bool(self._label, wanted))


def _not_a_bool(label: str, result: object) -> Reject:
    if iscoroutine(result):
        result.close()
    return Reject(f"when= of {label} returned a {type(result).__name__}, not True or False")
