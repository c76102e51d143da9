"""What the SDK asks of a Kafka client: records, topics and ports. No client library here."""
