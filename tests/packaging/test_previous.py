"""Each distribution works with the other one's previous version."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.packaging.fresh import ROOT, Wheels, build_wheels, install_alone, run
from tests.packaging.previous import build_commit, previous_release

pytestmark = [pytest.mark.compatibility, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return build_wheels(ROOT, tmp_path_factory.mktemp("new"))


def smoke(folder: Path, *wheels: Path | None) -> str:
    """What the smoke test prints on these wheels, and on this environment's other packages."""
    installed = install_alone(folder, *(wheel for wheel in wheels if wheel is not None))
    where = "import eventzr_kafka, eventzr_marketplace_events as e; print(eventzr_kafka.__file__, e.__file__)"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    assert run(sys.executable, "-c", where, cwd=folder, env=env).count(str(installed)) == 2
    return run(sys.executable, str(ROOT / "tests/packaging/smoke.py"), cwd=folder, env=env)


def test_engine_runs_previous_events(new: Wheels, tmp_path: Path) -> None:
    previous = build_commit(previous_release("eventzr-marketplace-events"), tmp_path)
    assert smoke(tmp_path / "installed", new.engine, previous.events) == "18 events\n"


def test_previous_engine_runs_these_events(new: Wheels, tmp_path: Path) -> None:
    previous = build_commit(previous_release("eventzr-kafka"), tmp_path)
    assert smoke(tmp_path / "installed", previous.engine, new.events) == "18 events\n"
