"""The SDK works on asyncio's event loop; under another one, such as trio's, it says so."""

from __future__ import annotations

import asyncio

from eventzr_kafka.errors import ConfigurationError

__all__ = ["no_loop", "running_loop"]


def running_loop(what: str) -> asyncio.AbstractEventLoop:
    """The running event loop.

    Args:
        what: Needs it, for people.

    Raises:
        ConfigurationError: None of asyncio's runs here.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise no_loop(what) from None


def no_loop(what: str) -> ConfigurationError:
    """Make the error of what needs asyncio's event loop."""
    return ConfigurationError(
        f"{what} needs asyncio's event loop, and none runs here: with anyio choose its asyncio back-end, "
        'anyio.run(main, backend="asyncio"); trio is not supported'
    )
