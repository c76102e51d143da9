"""Run wheels, quick start and unit tests on each Python that the classifiers name: `make check-pythons`.

``python -m tests.packaging.pythons [3.12 …]``. A Python is looked for on PATH and among pyenv's; one that is not found
makes the command fail, after the others have run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.packaging.fresh import ROOT, Environment, build_wheels

__all__ = ["find_python", "named_pythons"]

EXTRAS = "cli,msk,testing,uvloop,outbox-postgres,outbox-sqlite"


def named_pythons() -> list[str]:
    """The versions that the classifiers name, such as 3.11."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)


def find_python(version: str) -> str | None:
    """The interpreter of a version such as 3.12, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [sys.executable, shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    return next((str(path) for path in found if path is not None and _is_version(path, version)), None)


def _is_version(python: str | Path, version: str) -> bool:
    """Ask the interpreter: pyenv has a stand-in on PATH for versions that are not switched on."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


def main(versions: list[str]) -> int:
    """Print a line for each version; 1 if one fails or is not found."""
    good = [_check(version) for version in versions or named_pythons()]
    return 0 if all(good) else 1


def _check(version: str) -> bool:
    python = find_python(version)
    if python is None:
        print(f"Python {version}: not found on PATH or among pyenv's", flush=True)
        return False
    print(f"Python {version}: {python}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/packaging/test_wheels.py"]
    starts = subprocess.run(pytest, cwd=ROOT, env={**os.environ, "CHECK_PYTHONS": python}, check=False).returncode == 0
    return _run_unit_tests(python) and starts


def _run_unit_tests(python: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        environment, wheels = Environment(Path(folder) / "venv"), build_wheels(ROOT, Path(folder))
        environment.create(python)
        pins = ["--requirement", "requirements/lowest.in", "--constraint", "requirements/dev.txt"]
        environment.install(f"{wheels.engine}[{EXTRAS}]", str(wheels.events), *pins)
        marks = "not torture and not slow and not real_kafka"
        pytest = [str(environment.python), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-m", marks]
        return subprocess.run([*pytest, "tests/unit"], cwd=ROOT, env=environment.variables, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
