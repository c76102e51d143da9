"""Refused consumer classes, as source text, and the lines that their errors end in.

A wrong class is source text: its marked line must be the one that is blamed, and the lines that the error ends in are
pasted into a class that must be accepted. Every such case runs at module level and inside a function, with annotations
that are evaluated and that are postponed.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any

from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.handlers.signature import Route

CREATED = "eventzr.marketplace.listing.created.v1"
UPDATED = "eventzr.marketplace.listing.updated.v1"
COMPLETED = "eventzr.marketplace.order.completed.v1"

PRELUDE = """\
import functools
from typing import Any, Generic, Optional, TypeVar
from eventzr_kafka import CloudEvent, EventData, MessageContext, kafka_consumer, on_message
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingStatistics, ListingUpdated, OrderCompleted
"""
modules = count()


@dataclass
class Refusal:
    """A class that was refused, and what became of it with the lines that the error ends in."""

    error: RoutingError
    right: list[str]
    fixed: ConsumerDefinition | None = None

    @property
    def text(self) -> str:
        return str(self.error)

    def route(self) -> Route:
        assert self.fixed is not None
        (route,) = self.fixed.routes
        return route


def run(source: str, file: str = "fixed.py", **names: Any) -> ModuleType:
    module = ModuleType(f"{file.removesuffix('.py')}_{next(modules)}")
    vars(module).update(names)
    sys.modules[module.__name__] = module  # pydantic looks it up when the source is the first to name a CloudEvent[X]
    try:
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))  # noqa: S102 -- the tests' own source
    finally:
        del sys.modules[module.__name__]
    return module


@dataclass
class Setting:
    local: bool
    postponed: bool

    def source(self, text: str) -> str:
        future = "from __future__ import annotations\n" if self.postponed else ""
        body = textwrap.dedent(text)
        if self.local:
            inside = textwrap.indent(body, "    ")
            body = f"def declare():\n{inside}\n    return dict(locals())\nglobals().update(declare())\n"
        return f"{future}{PRELUDE}{body}"

    def fix(self, text: str, right: list[str]) -> ConsumerDefinition:
        """Paste the right lines into a class of its own, below what the source defines before its consumer."""
        before = textwrap.dedent(text).partition("@kafka_consumer")[0]
        lines = "".join(f"    {line}\n" + "        return\n" * line.endswith(":") for line in right)
        module = run(self.source(f'{before}\n@kafka_consumer(group_id="fixed")\nclass Fixed:\n{lines}'))
        return definition_of(module.Fixed())


Refused = Callable[[str], Refusal]


def routes_of(cls: type) -> dict[str, Route]:
    return {route.method: route for route in definition_of(cls()).routes}
