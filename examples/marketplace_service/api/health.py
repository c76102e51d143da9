"""Probes: alive while the process can answer, ready while it can do its work."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.datastructures import State

from eventzr_kafka import ConsumerRunner
from eventzr_kafka.outbox import OutboxRelay
from examples.marketplace_service.api.problems import ProblemError
from examples.marketplace_service.database import sessions

__all__ = ["router"]

router = APIRouter(prefix="/health")


@router.get("/live")
async def live(request: Request) -> dict[str, str]:
    """What has ended does not come back by itself: the process must be started anew."""
    _require_running(request.app.state)
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Kafka being away is no reason to refuse requests: the outbox keeps the events meanwhile."""
    _require_running(request.app.state)
    runner: ConsumerRunner = request.app.state.runner
    if runner.problems:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "consumer-held-up", "; ".join(runner.problems))
    async with sessions() as session:
        await session.execute(select(1))
    return {"status": "ready"}


def _require_running(state: State) -> None:
    runner: ConsumerRunner = state.runner
    if runner.error is not None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "consumer-stopped", str(runner.error))
    error = _relay_error(state.relay)
    if error is not None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "relay-stopped", error)


def _relay_error(relay: OutboxRelay) -> str | None:
    """Why it has ended, by name: the error's text may hold what was to be published."""
    return None if relay.error is None else f"the outbox relay has ended: {type(relay.error).__name__}"
