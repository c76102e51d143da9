"""Connects the parts of the service: database, outbox relay, consumers and HTTP app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from eventzr_kafka import ConsumerRunner, KafkaSettings
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.outbox import OutboxRelay
from examples.marketplace_service.api import health, listings, operations, orders, playground, problems, sellers
from examples.marketplace_service.background import run_beside
from examples.marketplace_service.database import open_engine
from examples.marketplace_service.due_changes import apply_when_due
from examples.marketplace_service.events.consumer import NeighbourEvents
from examples.marketplace_service.events.dead_letters import DeadLetterReplay, DeadLetters
from examples.marketplace_service.events.failures import FailureLog
from examples.marketplace_service.events.neighbours import Neighbours
from examples.marketplace_service.housekeeping import keep_house
from examples.marketplace_service.settings import Settings

__all__ = ["CONSUMERS", "create_app", "make_handler"]

CONSUMERS = (NeighbourEvents, DeadLetters)
_PAGE = Path(__file__).with_name("page")


def create_app(settings: Settings | None = None, kafka: KafkaSettings | None = None) -> FastAPI:
    """Make the app; it connects to the database and Kafka when it starts."""
    settings = settings or Settings.from_env()
    kafka = kafka or KafkaSettings.from_env()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with _run_parts(app, settings, kafka):
            yield

    app = FastAPI(title="Marketplace service", version="1.0.0", lifespan=lifespan)
    app.state.closing = asyncio.Event()
    problems.install(app)
    parts = (listings, orders, sellers, operations, health)
    for router in (*(part.router for part in parts), operations.long):
        app.include_router(router)
    if settings.playground:
        app.include_router(playground.router)
    app.add_api_route("/", lambda: FileResponse(_PAGE / "index.html"), include_in_schema=False)
    app.mount("/page", StaticFiles(directory=_PAGE))
    return app


def make_handler() -> NeighbourEvents:
    """Make the consumer for the SDK's command line: `eventzr-kafka run`, `eventzr-kafka dlq replay`."""
    open_engine(Settings.from_env().database_url)
    return NeighbourEvents()


@asynccontextmanager
async def _run_parts(app: FastAPI, settings: Settings, kafka: KafkaSettings) -> AsyncGenerator[None]:
    """Start all parts. The relay is entered before the runner, so it ends later and publishes the last commits."""
    async with AsyncExitStack() as stack:
        engine = open_engine(settings.database_url)
        stack.push_async_callback(engine.dispose)
        failures = FailureLog()
        await stack.enter_async_context(run_beside(failures.write))
        await stack.enter_async_context(run_beside(keep_house))
        await stack.enter_async_context(run_beside(apply_when_due))
        app.state.relay = await stack.enter_async_context(OutboxRelay(engine, kafka))
        if settings.playground:
            app.state.neighbours = Neighbours(kafka)
            await stack.enter_async_context(app.state.neighbours.producer)
        app.state.replay = DeadLetterReplay(_environ(settings, kafka))
        hooks = ConsumerHooks(on_event_failed=failures.note)
        app.state.runner = ConsumerRunner(*(make() for make in CONSUMERS), settings=kafka, hooks=hooks)
        await stack.enter_async_context(app.state.runner)
        yield


def _environ(settings: Settings, kafka: KafkaSettings) -> dict[str, str]:
    """Return the environment for commands of this service; credentials are in os.environ already."""
    return {**os.environ, "MARKETPLACE_DATABASE_URL": settings.database_url, "KAFKA_BROKERS": kafka.brokers}
