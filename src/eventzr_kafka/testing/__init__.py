"""Brokers for tests, from in memory to a real Apache Kafka."""
