"""Decides what happens next with an event that failed: a retry, a dead letter, a skip, or a stop.

1. A record that is not a valid event fails the same way every time: it is never retried. Tombstones, and events of a
   type that is not their topic's, have policies of their own.
2. A handler's error is retried while the policy has attempts and time left, and does not give up on the error's class.
3. `RetryLater` makes the wait longer, never shorter: the same attempts must not be used up sooner than the policy has
   it. If its wait ends after `max_elapsed`, the event is not retried, and the reason says so. `Reject` rules a retry
   out. Both count as attempts like any other error.
4. The wait before attempt n + 1 is at most ``wait_initial * multiplier ** (n - 1)``, and never over `wait_max`. With
   jitter it is drawn from 0 to that, so that events that failed together are not retried together ("full jitter").
5. A handler that cannot be called (`HandlerResultError`) would fail every event: that is a stop.
6. `SystemExit` asks the process to end: that is a stop, once for each event. A redelivered event whose handler raises
   it again has failed like any other.
7. An error is judged by its class and by the values that it carries, as far as these can be read and make sense; an
   error of a strange class is a failure like any other. So is a `DecodeError` that a handler raises: rule 1 is about
   the record that was delivered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from eventzr_kafka.errors import (
    BatchItemError,
    DecodeError,
    HandlerResultError,
    Reject,
    RetryLater,
    TombstoneError,
    TypeMismatchError,
)
from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.safe_text import attribute, cause_of, error_location, is_a, printable

__all__ = [
    "DEFAULT_RETRY",
    "DeadLetter",
    "Decision",
    "OnExhausted",
    "OnPoison",
    "Retry",
    "RetryPolicy",
    "Skip",
    "Stop",
    "decide_raised",
    "decide_unreadable",
    "reason_of",
]

OnExhausted: TypeAlias = Literal["dead_letter", "stop"]
OnPoison: TypeAlias = Literal["dead_letter", "skip", "stop"]
_MAX_REASON = 500  # characters of a reason that is kept
_LONGEST_WAIT = 10 * 365 * 86_400.0  # seconds; event loops cannot count further than some decades


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Number and times of the retries after a handler has failed.

    Attributes:
        attempts: Calls of the handler in all, the first one included; 1 or more.
        wait_initial: Seconds before the second attempt, at most (see rule 4).
        wait_max: The longest wait, in seconds.
        multiplier: Factor by which each wait is longer than the one before, 1 or more.
        jitter: True to draw each wait from 0 to its length.
        retry_on: Error classes that are retried.
        give_up_on: Classes among those that are not retried.
        max_elapsed: Seconds after the first failure beyond which no attempt begins; None for no limit.
        on_exhausted: Outcome of an event that is not retried any more: ``dead_letter`` or ``stop``.
    """

    attempts: int = 5
    wait_initial: float = 0.2
    wait_max: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    max_elapsed: float | None = None
    on_exhausted: OnExhausted = "dead_letter"

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ValueError(f"RetryPolicy(attempts={self.attempts!r}): must be a whole number, 1 or more")
        for name, least in (("wait_initial", 0.0), ("wait_max", 0.0), ("multiplier", 1.0)):
            _require_number(name, getattr(self, name), least)
        if self.max_elapsed is not None:
            _require_number("max_elapsed", self.max_elapsed, 0.0)
        for name in ("retry_on", "give_up_on"):
            _require_errors(name, getattr(self, name))
        if self.on_exhausted not in ("dead_letter", "stop"):
            raise ValueError(f"RetryPolicy(on_exhausted={self.on_exhausted!r}): must be dead_letter or stop")

    def wait(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds between this attempt, counted from 1, and the next."""
        longest = exponential_pause(
            attempt - 1, first=self.wait_initial, longest=self.wait_max, multiplier=self.multiplier
        )
        return longest * (random() if self.jitter else 1.0)


def _require_number(name: str, value: object, least: float) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:  # type: ignore[arg-type,operator]
        raise ValueError(f"RetryPolicy({name}={value!r}): must be a number, {least:g} or more")


def _require_errors(name: str, value: object) -> None:
    kinds: tuple[Any, ...] = value if isinstance(value, tuple) else (None,)  # pyright: ignore[reportUnknownVariableType]
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ValueError(f"RetryPolicy({name}={value!r}): must be a tuple of error classes")


DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again.

    Attributes:
        after: Seconds from now.
    """

    after: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Write a dead letter.

    Attributes:
        reason: For people; no payload, no control characters, 500 characters at most.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Skip the event: it counts as done."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the group before the event, which is not committed."""


Decision: TypeAlias = Retry | DeadLetter | Skip | Stop


def decide_unreadable(
    error: BaseException, *, on_tombstone: OnPoison = "dead_letter", on_unknown_type: OnPoison = "dead_letter"
) -> Decision:
    """Decide what happens next with a record that cannot be read, see rule 1."""
    chosen: OnPoison = "dead_letter"
    if is_a(error, TombstoneError):
        chosen = on_tombstone
    elif is_a(error, TypeMismatchError):
        chosen = on_unknown_type
    decisions: dict[OnPoison, Decision] = {"skip": Skip(), "stop": Stop()}
    return decisions.get(chosen, DeadLetter(reason_of(error)))


def decide_raised(
    error: BaseException,
    attempt: int,
    elapsed: float,
    *,
    policy: RetryPolicy = DEFAULT_RETRY,
    has_exited: bool = False,
    random: Callable[[], float],
) -> Decision:
    """Decide what happens next with an event after its handler raised an error, whatever the error's class.

    Args:
        attempt: How often the handler was called for the event.
        elapsed: Seconds since its first failure.
        random: Draws a number from 0 up to 1, for the jitter.
        has_exited: True if the event has stopped a runner with `SystemExit` before.
    """
    cause = _cause(error)
    if is_a(cause, HandlerResultError) or (is_a(error, SystemExit) and not has_exited):
        return Stop()
    wait = policy.wait(attempt, random)
    after = max(wait, _asked_wait(cause))
    may_retry = _may_retry(cause, policy) and attempt < policy.attempts
    if may_retry and _in_time(elapsed + after, policy):
        return Retry(after)
    if policy.on_exhausted == "stop":
        return Stop()
    reason = reason_of(error, from_handler=True)
    if may_retry and _in_time(elapsed + wait, policy):
        late = f"RetryLater(after={after:g}) ends after the policy's max_elapsed={policy.max_elapsed:g}: {reason}"
        reason = printable(late, limit=_MAX_REASON)
    return DeadLetter(reason)


def _cause(error: BaseException) -> BaseException:
    """The error itself; of a `BatchItemError`, the error that it was raised from."""
    cause = cause_of(error) if is_a(error, BatchItemError) else None
    return error if cause is None else cause


def _asked_wait(error: BaseException) -> float:
    """The seconds that a `RetryLater` asks for; 0 if it is another error, or its seconds are not a wait."""
    after: Any = attribute(error, "after") if is_a(error, RetryLater) else None
    if type(after) not in (int, float) or not 0 <= after < math.inf:
        return 0.0
    return float(min(after, _LONGEST_WAIT))


def _may_retry(error: BaseException, policy: RetryPolicy) -> bool:
    if is_a(error, RetryLater):
        return True
    if is_a(error, Reject, *policy.give_up_on):
        return False
    return is_a(error, *policy.retry_on) or not is_a(error, Exception)  # CancelledError: of its own making


def _in_time(seconds: float, policy: RetryPolicy) -> bool:
    return policy.max_elapsed is None or seconds <= policy.max_elapsed


def reason_of(error: BaseException, *, from_handler: bool = False) -> str:
    """An error in words without payload: the reason that its handler or the codec gave, else class and line.

    Args:
        from_handler: True if a handler raised the error: then the words of a `DecodeError` are not the SDK's.
    """
    cause = _cause(error)
    words = None
    if is_a(cause, Reject, RetryLater):
        words = _words(attribute(cause, "why"))
    elif is_a(cause, DecodeError) and not from_handler:
        words = _words(attribute(cause, "reason"))
    return printable(words or error_location(cause), limit=_MAX_REASON)


def _words(given: object) -> str | None:
    """A reason as it was given: a text, or an error whose text may quote a payload."""
    if issubclass(type(given), BaseException):
        return error_location(cast("BaseException", given))
    return str.__str__(cast("str", given)) if issubclass(type(given), str) else None
