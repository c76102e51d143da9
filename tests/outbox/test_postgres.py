"""The PostgreSQL that tests start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

KILLED = """
import os
from tests.postgres import Postgres
server = Postgres()
server.start()
print(server._server.pid, server._folder, flush=True)
os.kill(os.getpid(), 9)
"""


def test_killed_test_leaves_no_postgres() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    pid, folder = killed.stdout.split()

    while Path(folder).exists() or Path("/proc", pid).exists():
        time.sleep(0.05)  # the test's time-out ends it
