"""`import eventzr_kafka` is cheap: pydantic and 40 ms at the most."""

import os
import resource
import subprocess
import sys

BUDGET = 0.040  # seconds above pydantic, from DESIGN's budgets
ROUNDS = 9
# Installed packages are byte-compiled; so is the work tree once it was imported without this variable.
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def seconds(code: str) -> float:
    """Processor time of a Python that runs the code: importing waits for nothing, and other work does not count."""
    before = used()
    subprocess.run([sys.executable, "-c", code], check=True, env=INSTALLED)
    return used() - before


def test_importing_costs_at_most_40_ms_more_than_pydantic() -> None:
    code = "from pydantic import BaseModel, TypeAdapter\nclass Model(BaseModel): id: str"
    seconds("import eventzr_kafka")  # compiles what was not compiled yet
    base = ours = float("inf")
    for _ in range(ROUNDS):  # alternating, and the best of each
        base = min(base, seconds(code))
        ours = min(ours, seconds("import eventzr_kafka"))
    assert ours - base <= BUDGET, f"{(ours - base) * 1000:.0f} ms above pydantic"
