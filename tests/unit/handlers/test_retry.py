"""Every branch of the decision what comes after a failure, and the properties of the waits."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import BatchItemError, Record
from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.errors import (
    DecodeError,
    HandlerResultError,
    InvalidDataError,
    InvalidEnvelopeError,
    RecordTooLargeError,
    Reject,
    RetryLater,
    TenantMismatchError,
    TombstoneError,
    TypeMismatchError,
)
from eventzr_kafka.handlers.retry import (
    DEFAULT_RETRY,
    DeadLetter,
    Decision,
    OnPoison,
    Retry,
    RetryPolicy,
    Skip,
    Stop,
    decide_raised,
    decide_unreadable,
    reason_of,
)

RECORD = Record("topic", 0, 7, b"t", b"{}")
SECONDS = st.floats(0, 1e6)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10),
    wait_initial=SECONDS,
    wait_max=SECONDS,
    multiplier=st.floats(1, 10),
    jitter=st.booleans(),
    max_elapsed=st.none() | SECONDS,
    on_exhausted=st.sampled_from(["dead_letter", "stop"]),
)
POISON: list[type[DecodeError]] = [
    DecodeError,
    InvalidDataError,
    InvalidEnvelopeError,
    RecordTooLargeError,
    TenantMismatchError,
    TombstoneError,
    TypeMismatchError,
]


def decide(
    error: BaseException,
    attempt: int,
    elapsed: float,
    *,
    policy: RetryPolicy = DEFAULT_RETRY,
    on_tombstone: OnPoison = "dead_letter",
    on_unknown_type: OnPoison = "dead_letter",
    random: Callable[[], float] = SYSTEM_CLOCK.random,
) -> Decision:
    """A `DecodeError` is of the codec here, every other error of the handler."""
    if isinstance(error, DecodeError):
        return decide_unreadable(error, on_tombstone=on_tombstone, on_unknown_type=on_unknown_type)
    return decide_raised(error, attempt, elapsed, policy=policy, random=random)


def decided(error: BaseException, attempt: int = 1, elapsed: float = 0.0, **policy: Any) -> Decision:
    return decide(error, attempt, elapsed, policy=RetryPolicy(jitter=False, **policy), random=lambda: 0.5)


@given(POLICIES, st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_maximum_or_less_than_nothing(
    policy: RetryPolicy, attempt: int, drawn: float
) -> None:
    wait = policy.wait(attempt, lambda: drawn)

    assert 0 <= wait <= policy.wait_max
    assert math.isfinite(wait)


def test_a_thousand_attempts_wait_no_longer_than_the_maximum() -> None:
    assert RetryPolicy(attempts=1000, multiplier=10.0).wait(999, lambda: 1.0) == 30.0


@given(POLICIES, st.integers(1, 100))
def test_without_jitter_waits_grow_until_the_maximum(policy: RetryPolicy, attempt: int) -> None:
    steady = replace(policy, jitter=False)

    assert steady.wait(attempt, lambda: 0.0) <= steady.wait(attempt + 1, lambda: 0.0)
    assert steady.wait(1, lambda: 0.0) == min(policy.wait_initial, policy.wait_max)


@given(POLICIES, st.integers(1, 20), SECONDS)
def test_a_failure_ends_after_as_many_attempts_as_the_policy_has(
    policy: RetryPolicy, attempt: int, elapsed: float
) -> None:
    decision = decide(ValueError(), attempt, elapsed, policy=policy)

    if isinstance(decision, Retry):
        assert attempt < policy.attempts
        assert policy.max_elapsed is None or elapsed + decision.after <= policy.max_elapsed
    else:
        assert isinstance(decision, Stop if policy.on_exhausted == "stop" else DeadLetter)


@given(POLICIES, st.sampled_from(POISON), st.integers(0, 20), SECONDS)
def test_a_record_that_is_no_event_is_never_retried(
    policy: RetryPolicy, kind: type[DecodeError], attempt: int, elapsed: float
) -> None:
    decision = decide(kind(RECORD, "why"), attempt, elapsed, policy=policy)

    assert decision == DeadLetter("why")


@pytest.mark.parametrize(
    ("policy", "decision"), [("skip", Skip()), ("stop", Stop()), ("dead_letter", DeadLetter("why"))]
)
def test_tombstones_and_strange_types_have_policies_of_their_own(policy: OnPoison, decision: Decision) -> None:
    tombstone, strange = TombstoneError(RECORD, "why"), TypeMismatchError(RECORD, "why")

    assert decide(tombstone, 0, 0.0, on_tombstone=policy) == decision
    assert decide(strange, 0, 0.0, on_unknown_type=policy) == decision
    assert decide(tombstone, 0, 0.0, on_unknown_type=policy) == DeadLetter("why")
    assert decide(strange, 0, 0.0, on_tombstone=policy) == DeadLetter("why")
    assert decide(InvalidDataError(RECORD, "why"), 0, 0.0, on_tombstone=policy, on_unknown_type=policy) == DeadLetter(
        "why"
    )


def test_waits_double_from_the_initial_one() -> None:
    assert [decided(ValueError(), attempt) for attempt in (1, 2, 3, 4)] == [
        Retry(0.2),
        Retry(0.4),
        Retry(0.8),
        Retry(1.6),
    ]
    assert decided(ValueError(), 5) == DeadLetter("ValueError")
    assert decided(ValueError(), 20, attempts=99) == Retry(30.0)


def test_jitter_draws_the_wait_from_nothing_to_its_length() -> None:
    assert decide(ValueError(), 2, 0.0, random=lambda: 0.0) == Retry(0.0)
    assert decide(ValueError(), 2, 0.0, random=lambda: 0.5) == Retry(0.2)
    assert isinstance(decide(ValueError(), 1, 0.0), Retry)


def test_retry_later_makes_the_wait_longer() -> None:
    assert decided(RetryLater(after=90.0)) == Retry(90.0)
    assert decided(RetryLater(after=90.0), retry_on=(KeyError,), give_up_on=(Exception,)) == Retry(90.0)
    assert decided(RetryLater(after=90.0), attempt=5) == DeadLetter("RetryLater")


@given(POLICIES, st.integers(1, 20), SECONDS)
def test_retry_later_never_shortens_the_policys_wait(policy: RetryPolicy, attempt: int, asked: float) -> None:
    policy = replace(policy, attempts=attempt + 1, max_elapsed=None)

    decision = decide(RetryLater(after=asked), attempt, 0.0, policy=policy, random=lambda: 0.5)

    assert decision == Retry(max(asked, policy.wait(attempt, lambda: 0.5)))


def test_retry_later_beyond_the_policys_end_is_named() -> None:
    late = "RetryLater(after=90) ends after the policy's max_elapsed=60: "

    assert decided(RetryLater(after=90.0), max_elapsed=60.0) == DeadLetter(f"{late}RetryLater")
    assert decided(RetryLater(after=90.0, why="unpaid"), max_elapsed=60.0) == DeadLetter(f"{late}unpaid")
    assert decided(RetryLater(after=90.0), elapsed=60.0, max_elapsed=60.0) == DeadLetter("RetryLater")


def test_reason_of_retry_later_is_in_the_letter() -> None:
    assert decided(RetryLater(after=1.0, why="order 'x' is unpaid\n"), attempt=5) == DeadLetter("order 'x' is unpaid?")


def test_a_handler_says_that_trying_again_is_of_no_use() -> None:
    assert decided(Reject("no such order\n")) == DeadLetter("no such order?")
    assert decided(Reject("no such order"), on_exhausted="stop") == Stop()


def test_only_chosen_classes_are_tried_again() -> None:
    assert isinstance(decided(KeyError(), retry_on=(LookupError,)), Retry)
    assert isinstance(decided(ValueError(), retry_on=(LookupError,)), DeadLetter)
    assert isinstance(decided(KeyError(), give_up_on=(LookupError,)), DeadLetter)
    assert isinstance(decided(KeyError(), retry_on=()), DeadLetter)


def test_a_handler_that_cancels_itself_is_retried() -> None:
    assert isinstance(decided(asyncio.CancelledError()), Retry)
    assert isinstance(decided(asyncio.CancelledError(), give_up_on=(asyncio.CancelledError,)), DeadLetter)


def test_no_attempt_begins_beyond_the_time_that_there_is() -> None:
    assert decided(ValueError(), elapsed=0.8, max_elapsed=1.0) == Retry(0.2)
    assert isinstance(decided(ValueError(), elapsed=0.81, max_elapsed=1.0), DeadLetter)


def test_a_handler_that_is_none_stops_the_group() -> None:
    assert decided(HandlerResultError("H.h", "coroutine")) == Stop()


def test_what_a_batch_handler_says_of_an_event_is_its_cause() -> None:
    said = BatchItemError()
    said.__cause__ = Reject("no such order")

    assert decided(said) == DeadLetter("no such order")
    assert decided(BatchItemError(), attempt=5) == DeadLetter("BatchItemError")


def test_a_reason_says_class_and_place_and_never_the_text() -> None:
    with pytest.raises(ValueError, match="x") as caught:
        int("4111x")

    reason = reason_of(caught.value)

    assert re.fullmatch(rf"ValueError at {re.escape(__file__)}:\d+", reason)


def test_an_error_as_the_reason_of_a_rejection_is_named_by_class() -> None:
    assert reason_of(Reject(ValueError("4111"))) == "ValueError"  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@given(st.text())
def test_a_reason_fits_one_line(text: str) -> None:
    for error in (Reject(text), InvalidDataError(RECORD, text * 50)):
        reason = reason_of(error)
        assert len(reason) <= 500
        assert reason.isprintable()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("attempts", 0),
        ("attempts", True),
        ("attempts", 2.0),
        ("wait_initial", -0.1),
        ("wait_initial", "1"),
        ("wait_max", math.inf),
        ("wait_max", math.nan),
        ("multiplier", 0.9),
        ("max_elapsed", -1.0),
        ("retry_on", ValueError),
        ("retry_on", (int,)),
        ("give_up_on", ("ValueError",)),
        ("on_exhausted", "drop"),
    ],
)
def test_a_policy_refuses_what_makes_no_sense(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"RetryPolicy\({option}="):
        RetryPolicy(**{option: value})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
