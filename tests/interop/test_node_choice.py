"""What a session says and does that has no Node.js."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("setting", "code", "announced", "reason"),
    [
        ("auto", 0, "be reported as skipped", "no Node.js for tests: no node and no npm"),
        ("real", 1, "fail", "EVENTZR_KAFKA_TEST_BROKER=real, but no Node.js for tests: no node and no npm"),
    ],
)
def test_without_node_tests_are_skipped_or_fail(setting: str, code: int, announced: str, reason: str) -> None:
    name = "test_tenant_has_one_partition_in_both_sdks"
    test = f"{Path(__file__).with_name('test_javascript.py')}::{name}"
    bare = {**os.environ, "PATH": "", "EVENTZR_KAFKA_TEST_BROKER": setting}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]

    session = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=240, check=False)

    assert session.returncode == code
    assert f"node: none - no node and no npm; tests with it will {announced}" in session.stdout
    assert reason in session.stdout
