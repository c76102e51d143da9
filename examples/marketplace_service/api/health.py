"""Probes: live while relay and consumers run, ready while they can work."""

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
    """Fail when the relay or a consumer has ended: neither restarts by itself, so the process must be restarted."""
    _require_running(request.app.state)
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Fail when consumers or database cannot work. Requests need no Kafka: the outbox keeps their events."""
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
    """Name the error that ended the relay, without its text, which may contain a payload."""
    return None if relay.error is None else f"the outbox relay has ended: {type(relay.error).__name__}"
