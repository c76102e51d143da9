"""Settings of the service, from the environment; those of Kafka are in the SDK's `KafkaSettings`.

========================  =====================================================================================
MARKETPLACE_DATABASE_URL  SQLAlchemy's async address; default ``sqlite+aiosqlite:///marketplace.db``
MARKETPLACE_HOST          address to listen on; default ``127.0.0.1``
MARKETPLACE_PORT          port to listen on; default 8000
MARKETPLACE_PLAYGROUND    ``true`` lets the page publish other services' events; default ``false``
MARKETPLACE_LOG_LEVEL     default ``INFO``
========================  =====================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that differ between a laptop and production."""

    database_url: str = "sqlite+aiosqlite:///marketplace.db"
    host: str = "127.0.0.1"
    port: int = 8000
    playground: bool = False
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables listed in the module's table."""
        env = os.environ if environ is None else environ
        default = cls()
        return cls(
            database_url=env.get("MARKETPLACE_DATABASE_URL") or default.database_url,
            host=env.get("MARKETPLACE_HOST") or default.host,
            port=int(env.get("MARKETPLACE_PORT") or default.port),
            playground=env.get("MARKETPLACE_PLAYGROUND", "").lower() in {"1", "true", "yes"},
            log_level=env.get("MARKETPLACE_LOG_LEVEL") or default.log_level,
        )
