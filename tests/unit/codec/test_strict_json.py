import inspect
import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka.codec.strict_json import find_fault, nests_too_deep

NAN = "NaN and Infinity are not JSON"
TWICE = "tenantid stands twice"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("tenantid"), inner, max_size=4),
)


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner: list[Any] = list(value.values() if isinstance(value, dict) else value)  # pyright: ignore[reportUnknownArgumentType] -- JSON
    return 1 + max(map(depth, inner), default=0)


@given(VALUES, st.booleans())
def test_depth_is_counted_as_the_parser_nests(value: Any, ascii_only: bool) -> None:  # noqa: FBT001 -- drawn
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    levels = depth(value)
    assert not nests_too_deep(text, levels)
    assert levels == 0 or nests_too_deep(text, levels - 1)


@pytest.mark.parametrize(
    "text", ['"[[["', '["[[[","{{{"]', r'["\"[[[\\","\\\"{{{"]', f"[{'[],{},' * 50}[]]", '{"[[[":"]]]"}', r'"\\\"[[["']
)
def test_brackets_in_strings_and_side_by_side_do_not_add_up(text: str) -> None:
    json.loads(text)
    assert not nests_too_deep(text.encode(), 2)


@pytest.mark.parametrize("text", ["[[[", '[[["', '[{"a":[1', "[[[]]]", '{"a\\"":[[1]]}', "\n[ [ [ ] ] ]"])
def test_three_levels_are_too_deep_for_two_even_when_cut_off(text: str) -> None:
    assert nests_too_deep(text.encode(), 2)


def test_counting_takes_time_in_proportion_to_the_bytes() -> None:
    def seconds(quotes: int) -> float:
        value, spent = b"[" + b"[]," * 65 + b'"' + b'\\"' * quotes, list[float]()
        for _ in range(5):
            begun = time.process_time()
            nests_too_deep(value, 64)
            spent.append(time.process_time() - begun)
        return min(spent)

    assert seconds(160_000) < 32 * seconds(10_000)  # 16 times as long; in proportion to the square it is 256 times


@given(VALUES)
def test_strict_json_has_no_fault(value: Any) -> None:
    assert find_fault(json.dumps({"tenantid": "a", "data": value}).encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"data":{"tenantid":1},"tenantid":"a"}',
        '{"data":[{"tenantid":1},{"tenantid":2}]}',
        '{"data":"\\"tenantid\\"","tenantid":"a"}',
        '{"tenantid":"\\u0074enantid"}',
        '{"data":"\\\\u0074enantid","tenantid":"a"}',
        '{"data":"NaN","tenantid":"-Infinity"}',
        '{"NaN":1,"Infinity":2}',
        '{"tenantId":"a","tenantid":"a","TENANTID":"a"}',
        '{"id":"a","id":"b","tenantid":"a"}',
    ],
)
def test_what_only_looks_suspicious_has_no_fault(text: str) -> None:
    assert find_fault(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("NaN", NAN),
        ("[Infinity]", NAN),
        ('{"a":-Infinity}', NAN),
        ('{"a":"\\u0041","b":[NaN]}', NAN),
        ('{"tenantid":1,"tenantid":1}', TWICE),
        ('{"tenantid":1,"\\u0074enantid":2}', TWICE),
        ('{"tenan\\u0074id":1,"t\\u0065nantid":2}', TWICE),
        ('{"tenantid":1,"data":{"tenantid":2},"tenantid":3}', TWICE),
    ],
)
def test_what_parsers_let_through_is_a_fault(text: str, fault: str) -> None:
    json.loads(text)
    assert find_fault(text.encode()) == fault


@pytest.mark.parametrize(
    "text", [b"", b"NaN NaN", b'{"a":NaN', b'"\\u00"', b"\xffNaN", b'{"tenantid":1,"tenantid"', b"[" * 9999 + b"NaN"]
)
def test_what_is_no_json_is_left_to_the_parser_that_says_where(text: bytes) -> None:
    assert find_fault(text) in {None, NAN}


@contextmanager
def little_stack() -> Generator[None]:
    """Room for about a hundred more calls, as far down inside an application."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def test_a_second_tenantid_is_a_fault_at_any_call_depth() -> None:
    text = b'{"tenantid":1,"data":' + b"[" * 190 + b"]" * 190 + b',"tenantid":2}'
    with little_stack():
        fault = find_fault(text)
    assert fault is not None
