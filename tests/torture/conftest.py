"""Long runs write what they have seen into docs/torture.md, one row each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from eventzr_kafka.testing.kafka_server import KafkaServer

PAGE: Final = Path(__file__).parents[2] / "docs" / "torture.md"
HEAD: Final = """\
# Results of the long runs

Written by `make torture`: a run that passes replaces its row. No figure is typed by hand.
*Again* counts redelivered events; *poison* is a record that is not a valid event.

| run | seen | broker | day |
|---|---|---|---|
"""

Finding: TypeAlias = Callable[[str, str], None]


@pytest.fixture
def finding(kafka: KafkaServer) -> Finding:
    """Put down what a run has seen, in place of what it saw the last time."""

    def put_down(run: str, seen: str) -> None:
        row = f"| {run} | {seen} | {kafka.description} | {datetime.now(UTC):%Y-%m-%d} |"
        others = [line for line in _rows() if not line.startswith(f"| {run} |")]
        PAGE.write_text(HEAD + "".join(f"{line}\n" for line in sorted([*others, row])), encoding="utf-8")

    return put_down


def _rows() -> list[str]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else HEAD
    return text.removeprefix(HEAD).splitlines()
