"""One relay under torture: ``python outbox_relay.py URL BROKERS``.

It prints a line when it listens to signals. After SIGUSR1 it kills itself at the next moment between an
acknowledgement and its mark.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta

from sqlalchemy.ext.asyncio import create_async_engine

from eventzr_kafka import KafkaSettings
from eventzr_kafka.outbox import OutboxRelay, RelayOptions
from eventzr_kafka.outbox.turn import Turns

URL, BROKERS = sys.argv[1:]


class Doomed(Turns):
    doomed = False

    async def _mark(self) -> None:
        if self._acknowledged and self.doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        await super()._mark()


async def main() -> None:
    engine = create_async_engine(URL)
    options = RelayOptions(lease=timedelta(seconds=1.5))
    relay = OutboxRelay(engine, KafkaSettings(brokers=BROKERS), options=options)
    relay._turns.__class__ = Doomed
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, setattr, Doomed, "doomed", True)
    loop.add_signal_handler(signal.SIGTERM, relay.stop)
    print("ready", flush=True)  # noqa: T201
    await relay.run()
    await engine.dispose()


asyncio.run(main())
