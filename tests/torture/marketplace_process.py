"""The example service as it is, but that Kafka misses a dead member after 6 seconds and not after 45."""

from __future__ import annotations

import sys

import uvicorn
from examples.marketplace_service.settings import Settings
from examples.marketplace_service.wiring import create_app

from eventzr_kafka import KafkaSettings

database_url, brokers, port = sys.argv[1:]
kafka = KafkaSettings(brokers=brokers, librdkafka={"session.timeout.ms": 6_000, "heartbeat.interval.ms": 1_500})
uvicorn.run(create_app(Settings(database_url=database_url), kafka), port=int(port), log_level="error")
