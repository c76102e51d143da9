"""uvloop as the event loop of a test session, and of the Pythons that its tests start."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from pathlib import Path

__all__ = ["use_uvloop"]

_SITE = Path(__file__).parent / "uvloop_site"


def use_uvloop() -> None:
    """Make `asyncio.run` and `asyncio.new_event_loop` use uvloop, here and in each Python started from here."""
    asyncio.set_event_loop_policy(  # pyright: ignore[reportDeprecated] -- only a policy reaches every asyncio.run
        import_module("uvloop").EventLoopPolicy()
    )
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in {"", str(_SITE)}]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_SITE), *paths])
