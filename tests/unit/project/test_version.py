"""`eventzr_kafka.__version__`: the installed package's, read for those alone who ask."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import eventzr_kafka


def test_version_is_the_installed_one() -> None:
    assert eventzr_kafka.__version__ == version("eventzr-kafka")


def test_importing_the_package_does_not_read_its_version() -> None:
    code = "import eventzr_kafka; print('__version__' in vars(eventzr_kafka))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"
