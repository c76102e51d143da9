"""The neighbours' events by HTTP, for the page and the demo; not there unless the settings ask for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request

from examples.marketplace_service.api.models import View
from examples.marketplace_service.api.transactions import Key, LongRoute, Tenant
from examples.marketplace_service.events.neighbours import Neighbours

__all__ = ["router"]

router = APIRouter(prefix="/playground", route_class=LongRoute)


class Published(View):
    """The position of the published event."""

    event_id: str
    topic: str
    partition: int | None
    offset: int | None


@router.post("/{topic}", status_code=HTTPStatus.ACCEPTED)
async def publish(request: Request, topic: str, tenant_id: Tenant, key: Key, body: dict[str, Any]) -> Published:
    """Publish an event as another service would; the body is its payload."""
    neighbours: Neighbours = request.app.state.neighbours
    result = await neighbours.publish(tenant_id, topic, body, key=key)
    return Published(event_id=result.event_id, topic=result.topic, partition=result.partition, offset=result.offset)
