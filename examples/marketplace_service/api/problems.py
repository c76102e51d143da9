"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from eventzr_kafka.errors import EncodeError
from examples.marketplace_service.domain.errors import DomainError

__all__ = ["PROBLEM", "ProblemError", "install"]

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
_BASE = "https://problems.example/marketplace/"


class ProblemError(Exception):
    """An error of HTTP itself, such as a missing header."""

    def __init__(self, status: HTTPStatus, problem: str, detail: str) -> None:
        self.status = status
        self.problem = problem
        super().__init__(detail)


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(DomainError, _on_problem)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(EncodeError, _on_unpublishable)
    app.add_exception_handler(DataError, _on_unstorable)
    for busy in (OperationalError, PoolTimeoutError):
        app.add_exception_handler(busy, _on_busy)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)


def _answer(status: HTTPStatus, problem: str, detail: str, **members: object) -> JSONResponse:
    kind = "about:blank" if problem == "about:blank" else f"{_BASE}{problem}"
    document = {"type": kind, "title": status.phrase, "status": status.value, "detail": detail, **members}
    return JSONResponse(document, status, media_type=PROBLEM)


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError | ProblemError)  # noqa: S101 -- as installed
    return _answer(error.status, error.problem, str(error))


async def _on_unpublishable(_: Request, error: Exception) -> JSONResponse:
    """Answer when the event of a change cannot be encoded, mostly because it is too large."""
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "unpublishable", str(error))


async def _on_unstorable(_: Request, error: Exception) -> JSONResponse:
    """Answer when PostgreSQL refuses a value, such as a NUL in a text; the driver's text may contain the value."""
    del error
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "unstorable", "the database cannot store a value of this request")


async def _on_busy(_: Request, error: Exception) -> JSONResponse:
    """Answer when the database is away or has ended a deadlock: nothing has changed, so the request may be repeated."""
    log.warning("a request failed, because the database is away or busy: %s", getattr(error, "orig", error))
    answer = _answer(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "the database is busy; repeat the request")
    answer.headers["Retry-After"] = "1"
    return answer


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101 -- as installed
    errors = [{"at": ".".join(map(str, found["loc"])), "problem": found["msg"]} for found in error.errors()]
    detail = "; ".join(f"{found['at']}: {found['problem']}" for found in errors)
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=errors)


async def _on_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- as installed
    return _answer(HTTPStatus(error.status_code), "about:blank", str(error.detail))


async def _on_failure(_: Request, error: Exception) -> JSONResponse:
    """Answer to a fault of the service; the details are only in the log."""
    del error
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "about:blank", "the service has failed")
