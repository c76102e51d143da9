"""Probes: alive while the process can answer, ready while it can do its work."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from sqlalchemy import select

from eventzr_kafka import ConsumerRunner
from examples.marketplace_service.api.problems import ProblemError
from examples.marketplace_service.database import sessions

__all__ = ["router"]

router = APIRouter(prefix="/health")


@router.get("/live")
async def live(request: Request) -> dict[str, str]:
    """A consumer that an event has stopped does not come back by itself: the process must be started anew."""
    runner: ConsumerRunner = request.app.state.runner
    if runner.error is not None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "consumer-stopped", str(runner.error))
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Kafka being away is no reason to refuse requests: the outbox keeps the events meanwhile."""
    runner: ConsumerRunner = request.app.state.runner
    if runner.problems:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "consumer-held-up", "; ".join(runner.problems))
    async with sessions() as session:
        await session.execute(select(1))
    return {"status": "ready"}
