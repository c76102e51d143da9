"""Wheels built from a folder of sources, and environments in which nothing but wheels is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Environment", "Wheels", "build_wheels", "install_alone", "run", "wheels_in"]

ROOT: Final = Path(__file__).parents[2]
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True, slots=True)
class Wheels:
    """The wheels of both distributions; those of 0.1 are one, with the events inside."""

    engine: Path
    events: Path | None


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def build_wheels(sources: Path, folder: Path) -> Wheels:
    """Build what a checkout in `sources` holds, with this environment's build backend: nothing is fetched."""
    projects = [path.parent for path in (sources / "pyproject.toml", sources / "marketplace-events/pyproject.toml")]
    known = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    found = [str(project) for project in projects if (project / "pyproject.toml").is_file()]
    run(*_PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *found, env=known)
    return wheels_in(folder)


def wheels_in(folder: Path) -> Wheels:
    """The wheels that a folder holds."""
    return Wheels(next(folder.glob("eventzr_kafka-*.whl")), next(folder.glob("eventzr_marketplace_events-*.whl"), None))


def install_alone(folder: Path, *wheels: Path) -> Path:
    """Install wheels without what they depend on; on PYTHONPATH they come before this environment's own sources."""
    run(*_PIP, "install", "--quiet", "--no-deps", "--no-compile", "--target", folder, *wheels)
    return folder


class Environment:
    """A virtual environment of its own, without pip and without this checkout."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self._bin = folder / "bin"

    def create(self, python: str) -> None:
        """Make it, empty, for this Python."""
        run(python, "-m", "venv", "--without-pip", self._bin.parent)

    def install(self, *requirements: str) -> None:
        """Install wheels, and from the registry what they depend on."""
        run(*_PIP, "--python", self.python, "install", "--quiet", "--no-compile", *requirements)

    @property
    def variables(self) -> dict[str, str]:
        """This process's variables without settings and paths of the checkout; this environment's commands first."""
        ours = ("KAFKA_", "PYTHON", "VIRTUAL_ENV", "PYTEST_", "COV_", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "PATH": f"{self._bin}{os.pathsep}{kept['PATH']}"}
