"""The versions before this one, taken from the history of the repository.

1. The previous version of a distribution is its newest release: the tag ``eventzr-kafka-X.Y.Z`` or
   ``eventzr-marketplace-events-X.Y.Z``.
2. Where none is tagged yet, the commit that took the distributions apart stands in for both.
3. Version 0.1.0 was one distribution with the events inside, and other modules: a member of a group, not a pair.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Final

from tests.packaging.fresh import ROOT, Wheels, build_wheels

__all__ = ["VERSION_0_1", "build_commit", "previous_release"]

VERSION_0_1: Final = "8efffe5466039accf92f88e785772ef105e21957"


def git(*arguments: str) -> bytes:
    """The output of git in this checkout."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, f"the whole history is needed (git fetch --unshallow): {done.stderr.decode()}"
    return done.stdout


@cache
def previous_release(distribution: str) -> str:
    """The commit of a distribution's previous version."""
    tags = git("tag", "--list", f"{distribution}-[0-9]*", "--sort=-version:refname", "--no-contains", "HEAD")
    if tags:
        return tags.decode().split()[0]
    added = git("log", "--diff-filter=A", "--format=%H", "--", "marketplace-events/pyproject.toml")
    return added.decode().split()[-1]


def build_commit(commit: str, folder: Path) -> Wheels:
    """Build the wheels of a commit, below this folder."""
    sources = folder / "sources"
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "src", "README.md", *_projects(commit)))) as archive:
        archive.extractall(sources, filter="data")
    return build_wheels(sources, folder / "wheels")


def _projects(commit: str) -> list[str]:
    listed = git("ls-tree", "--name-only", commit).decode().split()
    return [name for name in ("pyproject.toml", "marketplace-events") if name in listed]
