"""The tables of docs/reference/events.md agree with the classes and with the guide."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from eventzr_kafka.events.construction import is_written
from eventzr_marketplace_events.examples import EXAMPLES

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / "generate_events.py"))


def test_the_page_is_what_the_classes_are(generator: dict[str, Any]) -> None:
    assert (FOLDER / "events.md").read_text(encoding="utf-8") == generator["render"]()


def test_writers_owe_exactly_what_the_guide_names(generator: dict[str, Any]) -> None:
    for kind in EXAMPLES:
        owed = {name for name, field in kind.model_fields.items() if field.is_required() or is_written(field)}
        assert {name for name in kind.model_fields if generator["phrase_of"](kind, name)} == owed, kind
