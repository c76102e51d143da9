"""The event loop that `EVENTZR_KAFKA_TEST_LOOP` asks for is the one that tests get."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

WANTED = os.environ.get("EVENTZR_KAFKA_TEST_LOOP") or "asyncio"
SCRIPT = "import asyncio; print(type(asyncio.new_event_loop()).__module__)"


async def test_session_runs_on_the_loop_asked_for() -> None:
    assert type(asyncio.get_running_loop()).__module__.partition(".")[0] == WANTED


def test_started_python_has_the_loop_of_the_session() -> None:
    printed = subprocess.check_output([sys.executable, "-c", SCRIPT], text=True)

    assert printed.partition(".")[0].strip() == WANTED
