import inspect
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka.codec.strict_json import find_fault

NAN = "NaN and Infinity are not JSON"
TWICE = "tenantid stands twice"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("tenantid"), inner, max_size=4),
)


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
