"""Brokers for tests, from in memory to a real Apache Kafka.

`MemoryBroker` is Kafka inside one process; `run_virtual` runs a coroutine on a clock that does not wait.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventzr_kafka.testing._memory_cluster import DeliveryFault, MemoryBrokerOptions
    from eventzr_kafka.testing.memory_broker import MemoryBroker
    from eventzr_kafka.testing.virtual_time import VirtualTimeLoop, run_virtual

__all__ = ["DeliveryFault", "MemoryBroker", "MemoryBrokerOptions", "VirtualTimeLoop", "run_virtual"]

_ON_FIRST_USE = {
    "DeliveryFault": "eventzr_kafka.testing._memory_cluster",
    "MemoryBroker": "eventzr_kafka.testing.memory_broker",
    "MemoryBrokerOptions": "eventzr_kafka.testing._memory_cluster",
    "VirtualTimeLoop": "eventzr_kafka.testing.virtual_time",
    "run_virtual": "eventzr_kafka.testing.virtual_time",
}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        value = globals()[name] = getattr(import_module(_ON_FIRST_USE[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
