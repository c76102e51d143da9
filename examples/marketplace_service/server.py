"""The HTTP server: uvicorn, with live feeds ended first, because uvicorn waits for every open connection."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from examples.marketplace_service.settings import Settings

__all__ = ["GRACE", "Server"]

GRACE = 5  # seconds that running requests may take at shutdown


class Server(uvicorn.Server):
    """Serves the app of `create_app`."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Take the app; nothing listens before `serve`."""
        config = uvicorn.Config(
            app, settings.host, settings.port, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE
        )
        super().__init__(config)
        self._closing: asyncio.Event = app.state.closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the feeds, then the rest."""
        self._closing.set()
        await super().shutdown(sockets)
