"""Operations on the page: the feed of a tenant's events, their counts, and its dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, func, select, update

from examples.marketplace_service.activity import Activity, DeadLetter, Failure
from examples.marketplace_service.api.feed import follow
from examples.marketplace_service.api.models import View
from examples.marketplace_service.api.transactions import Key, LongRoute, Tenant, TransactionalRoute, Unit
from examples.marketplace_service.database import now, sessions
from examples.marketplace_service.domain.errors import NotFoundError
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.events.dead_letters import DeadLetterReplay

__all__ = ["long", "router"]

router = APIRouter(route_class=TransactionalRoute)
long = APIRouter(route_class=LongRoute)

_SHOWN = 100
_RECENT = 10


class ActivityView(View):
    """A line of the feed."""

    number: int
    direction: str
    topic: str
    event_id: str
    subject: str | None
    at: datetime


class FailureView(View):
    """An attempt that failed."""

    topic: str
    position: str
    handler: str
    error: str
    attempt: int
    outcome: str
    at: datetime


class DeadLetterView(View):
    """A dead letter; open while `replayed_at` is None."""

    position: str
    topic: str
    event_id: str
    handler: str
    error: str
    reason: str
    attempts: int
    failed_at: datetime
    replayed_at: datetime | None


class EventCountsView(View):
    """Counts of a tenant's events, and the last attempts that failed."""

    published: int
    handled: int
    retried: int
    dead_letters: int
    failures: list[FailureView]


class ReplayView(View):
    """The result of a replay."""

    succeeded: bool
    summary: str


@router.get("/activity", response_model=list[ActivityView])
async def list_activity(unit: Unit) -> Sequence[Activity]:
    mine = select(Activity).where(Activity.tenant_id == unit.tenant_id)
    return (await unit.session.scalars(mine.order_by(Activity.number.desc()).limit(_SHOWN))).all()


@router.get("/event-counts")
async def show_event_counts(unit: Unit) -> EventCountsView:
    mine = select(Failure).where(Failure.tenant_id == unit.tenant_id)
    failures = await unit.session.scalars(mine.order_by(Failure.number.desc()).limit(_RECENT))
    return EventCountsView(
        published=await _count(unit, Activity, Activity.direction == "out"),
        handled=await _count(unit, Activity, Activity.direction == "in"),
        retried=await _count(unit, Failure, Failure.outcome == "retried"),
        dead_letters=await _count(unit, DeadLetter, DeadLetter.replayed_at.is_(None)),
        failures=[FailureView.model_validate(failure) for failure in failures],
    )


@router.get("/dead-letters", response_model=list[DeadLetterView])
async def list_dead_letters(unit: Unit) -> Sequence[DeadLetter]:
    mine = select(DeadLetter).where(DeadLetter.tenant_id == unit.tenant_id)
    return (await unit.session.scalars(mine.order_by(DeadLetter.failed_at.desc()).limit(_SHOWN))).all()


@long.post("/dead-letters/{position}/replay")
async def replay_dead_letter(request: Request, position: str, tenant_id: Tenant, key: Key) -> ReplayView:
    """Replay a dead letter with the tenant's other open ones of its topic, to keep their order."""
    del key  # a repeated request finds no open dead letter
    async with sessions() as session:
        letter = await session.get(DeadLetter, (tenant_id, position))
        if letter is None:
            raise NotFoundError("dead letter", position)
        mine = (DeadLetter.tenant_id == tenant_id, DeadLetter.topic == letter.topic, DeadLetter.replayed_at.is_(None))
        known = (await session.scalars(select(DeadLetter.position).where(*mine))).all()
    replay: DeadLetterReplay = request.app.state.replay
    result = await replay.run(tenant_id=tenant_id, topic=letter.topic)
    if result.succeeded:  # then all of them are closed, also those that were discarded or handled before
        async with sessions.begin() as session:
            done = update(DeadLetter).where(*mine, DeadLetter.position.in_(known)).values(replayed_at=now())
            await session.execute(done)
    return ReplayView(succeeded=result.succeeded, summary=result.summary)


@long.get("/activity/stream")
async def stream_activity(
    request: Request,
    tenant_id: Tenant,
    last_event_id: Annotated[int, Header(description="Number of the last line received.")] = 0,
) -> StreamingResponse:
    lines = follow(tenant_id, last_event_id, request.app.state.closing)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _count(unit: UnitOfWork, table: type[Activity | Failure | DeadLetter], which: ColumnElement[bool]) -> int:
    counted = select(func.count()).select_from(table).where(table.tenant_id == unit.tenant_id, which)
    return await unit.session.scalar(counted) or 0
