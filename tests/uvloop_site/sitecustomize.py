"""Loaded by each Python that a test starts while the session runs on uvloop; see `tests/uvloop_policy.py`."""

import asyncio
from importlib import import_module

asyncio.set_event_loop_policy(  # pyright: ignore[reportDeprecated] -- only a policy reaches every asyncio.run
    import_module("uvloop").EventLoopPolicy()
)
