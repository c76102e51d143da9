"""One request, one transaction: `TransactionalRoute` opens it, and the answer is sent after the commit.

1. Every request needs ``X-Tenant-Id``, and a POST an ``Idempotency-Key``; without them it is refused at once.
2. The answer to a POST is kept in its own transaction, so a repeated request gets the same answer and changes nothing.
   The same key with another request is refused.
3. Of two requests with one key at the same time, the second waits for the first, at the key's row, and gets its answer.
   If the first one fails, the second one runs.
4. An error rolls back: nothing is kept, and the same key may be used again.
5. A request that takes longer than a transaction should is a `LongRoute`: its answer is kept when it is done. Two at
   the same time both run, and both get the answer of the one that was done first.
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

__all__ = ["Answer", "Command", "Key", "LongRoute", "Tenant", "TransactionalRoute", "Unit"]

_LONGEST = 200  # characters of a tenant id or a key

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class Answer(Base):
    """The kept answer to a POST, by its key."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("idempotency_key_at", "at"),)

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    status: Mapped[int] = mapped_column(default=0)
    body: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime] = mapped_column(default=now)

    def take(self, response: Response) -> None:
        """Keep a response."""
        self.status, self.body = response.status_code, bytes(response.body).decode()


class TransactionalRoute(APIRoute):
    """A route whose function runs in one transaction."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler of the route."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            tenant_id = _header(request, "X-Tenant-Id")
            if request.method != "POST":
                async with sessions.begin() as session:
                    return await _run(request, handler, session, tenant_id)
            return await _answer_once(request, handler, tenant_id)

        return handle


class LongRoute(APIRoute):
    """A route whose function opens its own transactions; a POST may run twice if it is repeated before it is done."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler of the route."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            tenant_id = _header(request, "X-Tenant-Id")
            return await (_run_and_keep(request, handler, tenant_id) if request.method == "POST" else handler(request))

        return handle


async def _run(request: Request, handler: Handler, session: AsyncSession, tenant_id: str) -> Response:
    request.state.unit = UnitOfWork(session, tenant_id)
    return await handler(request)


async def _answer_once(request: Request, handler: Handler, tenant_id: str) -> Response:
    while True:  # again if another request with this key was committed meanwhile, whose answer is there now
        answer = await _answer(request, tenant_id)
        async with sessions() as session, session.begin():
            known = await session.get(Answer, (tenant_id, answer.key))
            if known is not None:
                return _repeat(known, answer.request)
            session.add(answer)
            try:
                await session.flush()
            except IntegrityError:
                await session.rollback()
                continue
            response = await _run(request, handler, session, tenant_id)
            answer.take(response)
            return response


async def _run_and_keep(request: Request, handler: Handler, tenant_id: str) -> Response:
    answer = await _answer(request, tenant_id)
    known = await _kept(answer)
    if known is not None:
        return _repeat(known, answer.request)
    response = await handler(request)
    answer.take(response)
    try:
        async with sessions.begin() as session:
            session.add(answer)
    except IntegrityError:  # a repeated request was faster
        known = await _kept(answer)
    return response if known is None else _repeat(known, answer.request)


async def _kept(answer: Answer) -> Answer | None:
    async with sessions() as session:
        return await session.get(Answer, (answer.tenant_id, answer.key))


async def _answer(request: Request, tenant_id: str) -> Answer:
    """Make the answer with nothing but its key."""
    key = _header(request, "Idempotency-Key")
    return Answer(tenant_id=tenant_id, key=key, request=await _fingerprint(request))


def _repeat(known: Answer, request: str) -> Response:
    if known.request != request:
        detail = "this Idempotency-Key was used for another request; use a new one"
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    headers = {"Idempotency-Replayed": "true"}
    return Response(known.body, known.status, headers, media_type="application/json")


def _header(request: Request, name: str) -> str:
    values = request.headers.getlist(name)
    value = values[0].strip() if values else ""
    if not value:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "missing-header", f"the header {name} is missing")
    if len(values) > 1:  # one may be from the gateway, and the other from the client
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-header", f"the header {name} is given more than once")
    if len(value) > _LONGEST or not value.isprintable():
        detail = f"the header {name} must be at most {_LONGEST} printable characters"
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-header", detail)
    return value


async def _fingerprint(request: Request) -> str:
    body = await request.body()
    return hashlib.sha256(b"\0".join((request.method.encode(), request.url.path.encode(), body))).hexdigest()


TenantHeader: TypeAlias = Annotated[str, Header(description="The tenant of the request.")]
KeyHeader: TypeAlias = Annotated[str, Header(description="The same for every repetition of a request.")]


def _tenant(request: Request, x_tenant_id: TenantHeader) -> str:
    del x_tenant_id  # a parameter for OpenAPI; the route has read it
    return _header(request, "X-Tenant-Id")


def _key(request: Request, idempotency_key: KeyHeader) -> str:
    del idempotency_key  # the same
    return _header(request, "Idempotency-Key")


def _unit(request: Request, x_tenant_id: TenantHeader) -> UnitOfWork:
    del x_tenant_id  # the same
    unit: UnitOfWork = request.state.unit
    return unit


def _command(request: Request, x_tenant_id: TenantHeader, idempotency_key: KeyHeader) -> UnitOfWork:
    del idempotency_key  # the same
    return _unit(request, x_tenant_id)


Tenant: TypeAlias = Annotated[str, Depends(_tenant)]
"""The tenant of a request, for a `LongRoute`."""

Key: TypeAlias = Annotated[str, Depends(_key)]
"""The idempotency key, for a POST of a `LongRoute`."""

Unit: TypeAlias = Annotated[UnitOfWork, Depends(_unit)]
"""The transaction of a request, for a `TransactionalRoute`."""

Command: TypeAlias = Annotated[UnitOfWork, Depends(_command)]
"""The same for a POST."""
