"""One request, one transaction: `TransactionalRoute` opens it, and the answer leaves after the commit.

1. A POST names an ``Idempotency-Key``. Its answer is kept in the transaction that it is the answer of, so a repetition
   gets the same answer and changes nothing. The same key for another request is refused.
2. Of two requests with one key at the same time, the second waits for the first, at the key's row.
3. An error rolls back: nothing is kept, and the same key may be tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import Index
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from examples.marketplace_service.api.problems import ProblemError
from examples.marketplace_service.database import Base, now, sessions
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["Answer", "Command", "Tenant", "TransactionalRoute", "Unit"]

_LONGEST = 200  # characters of a tenant id or a key

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class Answer(Base):
    """What a POST was answered, by its key."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("idempotency_key_at", "at"),)

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    status: Mapped[int] = mapped_column(default=0)
    body: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime] = mapped_column(default=now)


class TransactionalRoute(APIRoute):
    """A route whose function works in a transaction of its own."""

    def get_route_handler(self) -> Handler:
        """Wrap the route's handler, which makes the answer."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            tenant_id = _header(request, "X-Tenant-Id")
            if request.method != "POST":
                async with sessions.begin() as session:
                    return await _run(request, handler, session, tenant_id)
            return await _once(request, handler, tenant_id)

        return handle


async def _run(request: Request, handler: Handler, session: AsyncSession, tenant_id: str) -> Response:
    request.state.unit = UnitOfWork(session, tenant_id)
    return await handler(request)


async def _once(request: Request, handler: Handler, tenant_id: str) -> Response:
    key = _header(request, "Idempotency-Key")
    answer = Answer(tenant_id=tenant_id, key=key, request=await _fingerprint(request))
    async with sessions() as session, session.begin():
        known = await session.get(Answer, (tenant_id, key))
        if known is not None:
            return _again(known, answer.request)
        session.add(answer)
        try:
            await session.flush()
        except IntegrityError:
            raise ProblemError(
                HTTPStatus.CONFLICT, "concurrent-request", "the same request was under way: repeat it"
            ) from None
        response = await _run(request, handler, session, tenant_id)
        answer.status, answer.body = response.status_code, bytes(response.body).decode()
        return response


def _again(known: Answer, request: str) -> Response:
    if known.request != request:
        detail = "this Idempotency-Key was used for another request"
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    headers = {"Idempotency-Replayed": "true"}
    return Response(known.body, known.status, headers, media_type="application/json")


def _header(request: Request, name: str) -> str:
    value = request.headers.get(name, "").strip()
    if not value:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "missing-header", f"the header {name} is missing")
    if len(value) > _LONGEST or not value.isprintable():
        detail = f"the header {name} must be at most {_LONGEST} printable characters"
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-header", detail)
    return value


async def _fingerprint(request: Request) -> str:
    body = await request.body()
    return hashlib.sha256(b"\0".join((request.method.encode(), request.url.path.encode(), body))).hexdigest()


TenantHeader: TypeAlias = Annotated[str, Header(description="Whose marketplace this is about.")]
KeyHeader: TypeAlias = Annotated[str, Header(description="The same for every repetition of one request.")]


def _tenant(request: Request, x_tenant_id: TenantHeader) -> str:
    del x_tenant_id  # named here for OpenAPI
    return _header(request, "X-Tenant-Id")


def _unit(request: Request, x_tenant_id: TenantHeader) -> UnitOfWork:
    del x_tenant_id  # the route has read it
    unit: UnitOfWork = request.state.unit
    return unit


def _command(request: Request, x_tenant_id: TenantHeader, idempotency_key: KeyHeader) -> UnitOfWork:
    del idempotency_key  # the same
    return _unit(request, x_tenant_id)


Tenant: TypeAlias = Annotated[str, Depends(_tenant)]
"""Whose request it is, for a route without a transaction."""

Unit: TypeAlias = Annotated[UnitOfWork, Depends(_unit)]
"""The request's transaction, as a route's function gets it."""

Command: TypeAlias = Annotated[UnitOfWork, Depends(_command)]
"""The same for a POST."""
