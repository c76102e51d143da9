"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from examples.marketplace_service.domain.errors import DomainError

__all__ = ["PROBLEM", "ProblemError", "install"]

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
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)


def _answer(status: HTTPStatus, problem: str, detail: str, **members: object) -> JSONResponse:
    kind = "about:blank" if problem == "about:blank" else f"{_BASE}{problem}"
    document = {"type": kind, "title": status.phrase, "status": status.value, "detail": detail, **members}
    return JSONResponse(document, status, media_type=PROBLEM)


async def _on_domain_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)  # noqa: S101 -- as installed
    return _answer(error.status, error.problem, str(error))


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 -- as installed
    return _answer(error.status, error.problem, str(error))


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101 -- as installed
    errors = [{"at": ".".join(map(str, found["loc"])), "problem": found["msg"]} for found in error.errors()]
    detail = "; ".join(f"{found['at']}: {found['problem']}" for found in errors)
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=errors)


async def _on_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- as installed
    return _answer(HTTPStatus(error.status_code), "about:blank", str(error.detail))
