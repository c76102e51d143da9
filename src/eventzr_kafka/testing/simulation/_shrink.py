"""A failing plan made shorter: whatever can be left out so that the same rule is broken is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from eventzr_kafka.testing.simulation._plan import HistoryPlan
from eventzr_kafka.testing.simulation._tracking import Violation

__all__ = ["shrink"]

_MOST_TRIES = 150


def shrink(
    plan: HistoryPlan, violation: Violation, judge: Callable[[HistoryPlan], Violation | None]
) -> tuple[HistoryPlan, Violation]:
    """Shorten a plan as far as it goes in some tries; returns it with the violation that it leads to."""
    tries = 0
    shorter = True
    while shorter:
        shorter = False
        for candidate in _shorter(plan):
            tries += 1
            if tries > _MOST_TRIES:
                return plan, violation
            found = judge(candidate)
            if found is not None and found.rule == violation.rule:
                plan, violation, shorter = candidate, found, True
                break
    return plan, violation


def _shorter(plan: HistoryPlan) -> Iterator[HistoryPlan]:
    """Half of the events left out, single faults, single events; then fewer services."""
    half = len(plan.events) // 2
    if half:
        yield replace(plan, events=plan.events[:half])
        yield replace(plan, events=plan.events[half:])
    for at in range(len(plan.faults)):
        yield replace(plan, faults=[*plan.faults[:at], *plan.faults[at + 1 :]])
    if len(plan.events) > 1:
        for at in reversed(range(len(plan.events))):
            yield replace(plan, events=[*plan.events[:at], *plan.events[at + 1 :]])
    for name in ("services", "relays", "partitions"):
        if getattr(plan.setting, name) > 1:
            yield replace(plan, setting=replace(plan.setting, **{name: getattr(plan.setting, name) - 1}))
