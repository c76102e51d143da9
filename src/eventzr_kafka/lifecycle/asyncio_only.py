"""Refuses event loops other than asyncio's, such as trio's, with a hint."""

from __future__ import annotations

import asyncio

from eventzr_kafka.errors import ConfigurationError

__all__ = ["no_loop", "running_loop"]


def running_loop(purpose: str) -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Args:
        purpose: The call that needs it, for the message.

    Raises:
        ConfigurationError: The caller does not run on asyncio's event loop.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise no_loop(purpose) from None


def no_loop(purpose: str) -> ConfigurationError:
    """Make the error for a call that needs asyncio's event loop."""
    return ConfigurationError(
        f"{purpose} needs asyncio's event loop, and none runs here: with anyio choose its asyncio back-end, "
        'anyio.run(main, backend="asyncio"); trio is not supported'
    )
