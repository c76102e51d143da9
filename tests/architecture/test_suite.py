"""Rules of the test suite itself."""

from __future__ import annotations

from pathlib import Path

from tests.schedule import LONGEST, SHARED

ROOT = Path(__file__).parents[2]


def test_files_of_the_schedule_exist() -> None:
    assert [path for path in (*SHARED, *LONGEST) if not (ROOT / path).is_file()] == []
