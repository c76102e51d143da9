"""Seeded simulation: thousands of crash histories in place of a few; see `simulate`."""

from eventzr_kafka.testing.simulation._database import SimulatedInbox, SimulatedOutbox, SimulatedSession
from eventzr_kafka.testing.simulation._service import HandlerFactory, SimulatedService
from eventzr_kafka.testing.simulation.simulate import SimulationFailedError, SimulationReport, history_of, simulate

__all__ = [
    "HandlerFactory",
    "SimulatedInbox",
    "SimulatedOutbox",
    "SimulatedService",
    "SimulatedSession",
    "SimulationFailedError",
    "SimulationReport",
    "history_of",
    "simulate",
]
