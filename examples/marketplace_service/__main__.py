"""Run the service: python -m examples.marketplace_service [migrate]

With ``migrate`` it brings the database up to date and exits; a deployment does that before the new version starts.
"""

from __future__ import annotations

import logging
import sys

from examples.marketplace_service.schema import migrate
from examples.marketplace_service.server import Server
from examples.marketplace_service.settings import Settings
from examples.marketplace_service.wiring import create_app


def main() -> None:
    """Migrate or serve, as the arguments ask."""
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if sys.argv[1:] == ["migrate"]:
        migrate(settings.database_url)
    else:
        Server(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
