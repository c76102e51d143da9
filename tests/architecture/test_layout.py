"""The layout tells the truth: sizes, public names, and who may import what."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import eventzr_kafka
import eventzr_marketplace_events

SOURCE = Path(eventzr_kafka.__file__).parents[1]
MODULES = sorted(SOURCE.glob("eventzr_*/**/*.py"))


def function_lengths() -> list[int]:
    """Lines of every function's body, without its signature and docstring."""
    lengths: list[int] = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lengths.append(sum((part.end_lineno or part.lineno) - part.lineno + 1 for part in body))
    return lengths


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_stays_under_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_functions_are_short() -> None:
    lengths = function_lengths()
    assert statistics.median(lengths) <= 8
    assert statistics.quantiles(lengths, n=10)[-1] <= 25


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_adapter_imports_the_kafka_client(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "_confluent" in path.parts or "confluent_kafka" not in imported


@pytest.mark.parametrize("package", [eventzr_kafka, eventzr_marketplace_events], ids=lambda package: package.__name__)
def test_public_names_exist_and_are_sorted(package: ModuleType) -> None:
    names: list[str] = package.__all__
    assert names == sorted(names)
    assert all(getattr(package, name) is not None for name in names)


def test_every_public_name_has_a_docstring() -> None:
    named = [getattr(eventzr_kafka, name) for name in eventzr_kafka.__all__]
    named += [getattr(eventzr_marketplace_events, name) for name in eventzr_marketplace_events.__all__]
    assert [item for item in named if not item.__doc__] == []


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_loads_no_client_and_no_event_loop() -> None:
    heavy = [
        "confluent_kafka",
        "sqlalchemy",
        "psycopg",
        "boto3",
        "botocore",
        "cloudevents",
        "rich",
        "asyncio",
        "eventzr_marketplace_events",
    ]
    loaded = run_python(f"import sys, eventzr_kafka; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"
