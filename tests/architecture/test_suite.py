"""Rules of the test suite itself."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.schedule import LONGEST, SHARED

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests/unit"
SOURCES = ROOT / "src/eventzr_kafka"
OWN_VIRTUAL_TIME = {  # their classes and functions sleep inside `run_virtual`
    "testing/test_memory_broker.py",
    "testing/test_testing_kit.py",
    "testing/test_virtual_time.py",
}
SLEEPERS = {
    "confluent/test_client_faults.py",  # threads of the SDK beside doubles of the client
    "faulty_client.py",  # a call of the client that brings nothing takes a moment
}
SYSTEM_TIME = {  # functions that a `Clock` gives
    *(f"time.{name}" for name in ("monotonic", "monotonic_ns", "perf_counter", "sleep", "time", "time_ns")),
    *(f"random.{name}" for name in ("choice", "randint", "random", "randrange", "sample", "shuffle", "uniform")),
    *("datetime.now", "datetime.utcnow", "datetime.today", "uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"),
}
OWN_TIME = {
    "clock.py": {"time.monotonic", "time.sleep", "time.time", "time.time_ns"},
    "testing/_kafka_backend.py": {"random.sample", "uuid.uuid4"},  # a free port, and the id of a new cluster
    "testing/_kafka_docker.py": {"uuid.uuid4"},  # the name of a file in a container
}


def test_files_of_the_schedule_exist() -> None:
    assert [path for path in (*SHARED, *LONGEST) if not (ROOT / path).is_file()] == []


def test_names_of_tests_are_short() -> None:
    """A name stands alone in a CI log."""
    trees = [ast.parse(path.read_text()) for path in ROOT.glob("tests/**/test_*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [node.name for node in functions if node.name.startswith("test_")]
    assert [name for name in names if len(name) > 60] == []
    assert statistics.median(map(len, names)) <= 35


def test_unit_tests_do_not_sleep() -> None:
    """A sleep is too short on a busy machine, or too long on any other: move a clock, or wait for an event."""
    slept = {str(path.relative_to(UNIT)): list(_sleeps(ast.parse(path.read_text()))) for path in UNIT.rglob("*.py")}
    found = {path: lines for path, lines in slept.items() if lines}
    assert {path: found[path] for path in found.keys() - OWN_VIRTUAL_TIME - SLEEPERS} == {}
    assert (OWN_VIRTUAL_TIME | SLEEPERS) - found.keys() == set()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("time.sleep(0.1)", [1]),
        ("async def f():\n    await asyncio.sleep(n)", [2]),
        ("async def f():\n    await asyncio.sleep(0)", []),
        ("@pytest.mark.virtual_time\nasync def test_f():\n    await asyncio.sleep(9)", []),
        ("@in_virtual_time\nasync def test_f():\n    time.sleep(9)", [3]),
        ("pytestmark = pytest.mark.virtual_time\nasync def test_f():\n    await asyncio.sleep(9)", []),
    ],
)
def test_real_sleeps_are_found(source: str, lines: list[int]) -> None:
    assert list(_sleeps(ast.parse(source))) == lines


def test_time_and_chance_come_from_a_clock() -> None:
    found = {str(path.relative_to(SOURCES)): _system_time(path) for path in SOURCES.rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == OWN_TIME


def _sleeps(node: ast.AST, *, virtual: bool = False) -> Iterator[int]:
    """The lines that sleep in real time: a `time.sleep`, or an `asyncio.sleep` of more than 0 on a real loop."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and child.args:
            name, seconds = ast.unparse(child.func), ast.unparse(child.args[0])
            if name in {"time.sleep", "sleep"} or (name == "asyncio.sleep" and seconds != "0" and not virtual):
                yield child.lineno
        yield from _sleeps(child, virtual=virtual or _is_virtual(child) or _is_virtual(node))


def _is_virtual(node: ast.AST) -> bool:
    marks: list[ast.expr] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        marks = node.decorator_list
    elif isinstance(node, ast.Module):
        marks = [each.value for each in node.body if isinstance(each, ast.Assign) and "pytestmark" in ast.unparse(each)]
    return any("virtual_time" in ast.unparse(mark) for mark in marks)


def _system_time(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute | ast.Name):
            names.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names & SYSTEM_TIME
