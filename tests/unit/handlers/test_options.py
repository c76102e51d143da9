"""The options of a consumer: defaults, and what is refused when the class is decorated."""

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka.codec.limits import DEFAULT_LIMITS
from eventzr_kafka.handlers.options import (
    BatchOptions,
    ConsumerOptions,
    ConsumerOptionsDict,
    GroupProtocol,
    Ordering,
    consumer_options,
)

COUNTS = ["max_concurrency", "tenant_concurrency", "max_buffered_events", "max_buffered_bytes"]


def test_the_default_ordering_is_by_tenant() -> None:
    options = consumer_options()
    assert options == ConsumerOptions()
    assert options.ordering == "tenant"
    assert options.tenant_concurrency is None
    assert options.limits is DEFAULT_LIMITS


def test_the_keywords_are_the_options_with_the_same_types() -> None:
    # Two declarations of one thing: type checkers need the TypedDict, people the defaults.
    assert get_type_hints(ConsumerOptionsDict) == get_type_hints(ConsumerOptions)
    assert not ConsumerOptionsDict.__required_keys__


def test_options_are_frozen_and_compare_by_value() -> None:
    options = consumer_options(max_concurrency=8)
    assert options == consumer_options(max_concurrency=8) != consumer_options()
    assert hash(options) == hash(consumer_options(max_concurrency=8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_concurrency = 9  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("ordering", get_args(Ordering))
def test_every_ordering_is_taken(ordering: Ordering) -> None:
    assert consumer_options(ordering=ordering).ordering == ordering


@pytest.mark.parametrize("ordering", ["", "Tenant", "topic", None, 1, ["tenant"]])
def test_an_unknown_ordering_is_answered_with_the_known_ones(ordering: Any) -> None:
    with pytest.raises(ValueError, match=r"ordering=.*: must be one of tenant, subject, partition, none$"):
        consumer_options(ordering=ordering)


@pytest.mark.parametrize("name", COUNTS)
@given(count=st.integers(1, 2**40))
def test_a_count_is_one_or_more(name: str, count: int) -> None:
    given_options: Any = {name: count}
    assert getattr(consumer_options(**given_options), name) == count


@pytest.mark.parametrize("name", COUNTS)
@given(count=st.integers(-(2**40), 0))
def test_a_count_below_one_is_refused_by_name(name: str, count: int) -> None:
    given_options: Any = {name: count}
    with pytest.raises(ValueError, match=f"^{name}={count}: must be 1 or more$"):
        consumer_options(**given_options)


def test_a_tenant_may_have_no_limit_of_its_own() -> None:
    assert consumer_options(tenant_concurrency=None).tenant_concurrency is None


def test_a_drain_timeout_of_zero_waits_for_nothing() -> None:
    assert consumer_options(drain_timeout=0).drain_timeout == 0


def test_a_negative_drain_timeout_is_refused_with_its_unit() -> None:
    with pytest.raises(ValueError, match=r"^drain_timeout=-0\.5: must be 0 or more seconds$"):
        consumer_options(drain_timeout=-0.5)


@pytest.mark.parametrize("protocol", get_args(GroupProtocol))
def test_every_group_protocol_is_taken(protocol: GroupProtocol) -> None:
    assert consumer_options(group_protocol=protocol).group_protocol == protocol


@pytest.mark.parametrize("protocol", ["", "kip-848", None])
def test_an_unknown_group_protocol_is_answered_with_known_ones(protocol: Any) -> None:
    with pytest.raises(ValueError, match=r"^group_protocol=.*: must be one of classic, consumer$"):
        consumer_options(group_protocol=protocol)


@pytest.mark.parametrize("timeout", [None, 0.001, 300])
def test_a_handler_has_some_time_or_all_the_time(timeout: float | None) -> None:
    assert consumer_options(handler_timeout=timeout).handler_timeout == timeout


@pytest.mark.parametrize("timeout", [0, -1.5])
def test_a_handler_without_any_time_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match=f"^handler_timeout={timeout}: must be more than 0 seconds$"):
        consumer_options(handler_timeout=timeout)


@pytest.mark.parametrize(("option", "value"), [("max_size", 0), ("max_wait", -1), ("max_wait", float("nan"))])
def test_a_batch_of_nothing_or_below_no_wait_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{option}={value}"):
        BatchOptions(**{"max_size": 1, "max_wait": 0, option: value})


def test_parking_needs_ordering_keys() -> None:
    with pytest.raises(ValueError, match='ordering="none" has no ordering keys'):
        consumer_options(ordering="none", after_dead_letter="park_key")


def test_an_unknown_option_is_told_the_known_ones() -> None:
    unknown: Any = {"max_concurency": 3}
    known = ", ".join(field.name for field in dataclasses.fields(ConsumerOptions))
    with pytest.raises(ValueError, match=f"^unknown option 'max_concurency'; there are: group_id, {known}, inbox$"):
        consumer_options(**unknown)


WRONG_TYPES: list[tuple[str, Any]] = [
    ("max_concurrency", None),
    ("max_concurrency", 1.5),
    ("max_concurrency", True),
    ("max_concurrency", float("nan")),
    ("max_concurrency", "8"),
    ("max_buffered_events", None),
    ("max_buffered_bytes", None),
    ("drain_timeout", float("nan")),
    ("drain_timeout", float("inf")),
    ("drain_timeout", "25"),
    ("drain_timeout", None),
    ("handler_timeout", float("nan")),
    ("handler_timeout", "5"),
    ("limits", None),
    ("limits", {"max_bytes": 1}),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_by_name(name: str, value: Any) -> None:
    given_options: Any = {name: value}
    with pytest.raises(ValueError, match=f"^{name}="):
        consumer_options(**given_options)
