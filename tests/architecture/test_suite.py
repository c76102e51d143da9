"""Rules of the test suite itself."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

from tests.schedule import LONGEST, SHARED

ROOT = Path(__file__).parents[2]


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
