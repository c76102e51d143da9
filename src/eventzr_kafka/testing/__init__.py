"""Tools for the tests of a service: a broker in memory, a virtual clock, made-up events, and a real Apache Kafka.

`Events` (the fixture ``events``) runs handlers on a `MemoryBroker`, which is Kafka inside one process.
`in_virtual_time` and `run_virtual` run a coroutine on a clock that jumps to the next timer in place of waiting.
`event_factory` and ``strategies`` make events.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventzr_kafka.kafka.transport import DeliveryFailure

if TYPE_CHECKING:
    from eventzr_kafka.testing._memory_cluster import DeliveryFault, MemoryBrokerOptions
    from eventzr_kafka.testing.events import EventNotHandledError, EventOutcome, Events
    from eventzr_kafka.testing.factories import EventFactory, event_factory
    from eventzr_kafka.testing.memory_broker import MemoryBroker
    from eventzr_kafka.testing.published import PublishedEvents
    from eventzr_kafka.testing.simulation import SimulatedService, SimulationFailedError, SimulationReport, simulate
    from eventzr_kafka.testing.virtual_time import VirtualTimeLoop, in_virtual_time, run_virtual

__all__ = [
    "DeliveryFailure",
    "DeliveryFault",
    "EventFactory",
    "EventNotHandledError",
    "EventOutcome",
    "Events",
    "MemoryBroker",
    "MemoryBrokerOptions",
    "PublishedEvents",
    "SimulatedService",
    "SimulationFailedError",
    "SimulationReport",
    "VirtualTimeLoop",
    "event_factory",
    "in_virtual_time",
    "run_virtual",
    "simulate",
]

_ON_FIRST_USE = {
    "DeliveryFault": "_memory_cluster",
    "EventFactory": "factories",
    "EventNotHandledError": "events",
    "EventOutcome": "events",
    "Events": "events",
    "MemoryBroker": "memory_broker",
    "MemoryBrokerOptions": "_memory_cluster",
    "PublishedEvents": "published",
    "SimulatedService": "simulation",
    "SimulationFailedError": "simulation",
    "SimulationReport": "simulation",
    "VirtualTimeLoop": "virtual_time",
    "event_factory": "factories",
    "in_virtual_time": "virtual_time",
    "run_virtual": "virtual_time",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
