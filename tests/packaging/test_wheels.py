"""The wheels hold what they should, and README's quick start runs on them alone, on each Python of CHECK_PYTHONS."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packaging.fresh import ROOT, Environment, Wheels, build_wheels, run, wheels_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # installs: a busy machine takes its time

README = (ROOT / "README.md").read_text()
QUICK_START = README.partition("## Quick start")[2].partition("\n## ")[0]
CONSUMER, PRODUCER = re.findall(r"^```python\n(.*?)^```$", QUICK_START, re.MULTILINE | re.DOTALL)[:2]
(DEV,) = re.findall(r"^eventzr-kafka dev .*$", QUICK_START, re.MULTILINE)
PYTHONS = os.environ.get("CHECK_PYTHONS", sys.executable).split()

TEST = """
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import ListingCreated, example
from handlers import MarketplaceEventHandler

async def test_it(events: Events, capsys) -> None:
    events.subscribe(MarketplaceEventHandler())
    await events.emit(example(ListingCreated), tenant_id="t1")
    assert "Premium Catering Service" in capsys.readouterr().out
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Those that `make build` has made, or new ones."""
    built = os.environ.get("WHEELS")
    return wheels_in(ROOT / built) if built else build_wheels(ROOT, tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module", params=PYTHONS, ids=lambda python: Path(python).name)
def fresh(request: pytest.FixtureRequest, wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with what README's line of installation brings, and pytest; one for all processes of a session."""
    session = tmp_path_factory.getbasetemp()
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / f"fresh-{Path(request.param).name}"
    environment = Environment(folder)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            environment.create(request.param)
            pins = ["--constraint", str(ROOT / "requirements/dev.txt"), "pytest", "pytest-asyncio"]
            environment.install(f"{wheels.engine}[cli]", str(wheels.events), *pins)
    return environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(CONSUMER)
    (tmp_path / "produce.py").write_text(PRODUCER)
    return tmp_path


def files_of(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name and not name.endswith("/")}


def sources_of(folder: Path) -> set[str]:
    packages = [path for path in folder.glob("eventzr_*") if not path.is_symlink()]
    files = [path for package in packages for path in package.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)) for path in files if "__pycache__" not in path.parts}


def test_wheel_holds_its_own_sources(wheels: Wheels) -> None:
    assert wheels.events is not None
    assert files_of(wheels.engine) == sources_of(ROOT / "src")
    assert files_of(wheels.events) == sources_of(ROOT / "marketplace-events/src")


def test_versions_are_the_projects(wheels: Wheels) -> None:
    for wheel, project in ((wheels.engine, ROOT), (wheels.events, ROOT / "marketplace-events")):
        version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
        assert wheel is not None
        assert wheel.name.split("-")[1] == version


@pytest.fixture
def dev(fresh: Environment, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The quick start's command, as it runs in a terminal of its own."""
    process = subprocess.Popen(
        shlex.split(DEV),
        cwd=folder,
        env={**fresh.variables, "PYTHONUNBUFFERED": "1"},
        executable=fresh.python.parent / "eventzr-kafka",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read lines up to the first one with this text; a command that ends before fails the test."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return line
    pytest.fail(f"ended without {text!r}:\n{read}")


def test_quick_start_runs_on_the_wheels(dev: subprocess.Popen[str], fresh: Environment, folder: Path) -> None:
    line = read_until(dev, "listing.created.v1 --tenant").strip()
    settings = dict(word.split("=", 1) for word in shlex.split(line) if word.startswith("KAFKA_"))
    words = [word for word in shlex.split(line) if not word.startswith("KAFKA_")]
    run(fresh.python.parent / words[0], *words[1:], cwd=folder, env={**fresh.variables, **settings})
    assert read_until(dev, "New listing") == "New listing in lane vendora: Premium Catering Service\n"

    published = run(fresh.python, "produce.py", cwd=folder, env={**fresh.variables, **settings})
    assert re.fullmatch(r"eventzr\.marketplace\.listing\.created\.v1\[\d\]@\d\n", published)
    assert read_until(dev, "New listing") == "New listing in lane vendora: Hall\n"

    dev.send_signal(signal.SIGTERM)
    assert dev.wait(60) == 0


def test_installed_plugin_is_found(fresh: Environment, folder: Path) -> None:
    (folder / "test_quick_start.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")

    output = run(fresh.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder, env=fresh.variables)

    assert re.search(r"^1 passed", output, re.MULTILINE)


def test_mypy_sees_installed_types(fresh: Environment, folder: Path) -> None:
    wrong = CONSUMER.replace("event.data.title", "event.data.titel")
    (folder / "wrong.py").write_text(wrong)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(fresh.python)]

    run(*mypy, "handlers.py", cwd=folder, env=fresh.variables)
    done = subprocess.run(
        [*mypy, "wrong.py"], cwd=folder, env=fresh.variables, capture_output=True, text=True, check=False
    )

    assert 'has no attribute "titel"' in done.stdout
