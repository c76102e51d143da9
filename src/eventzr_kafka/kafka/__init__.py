"""Records, topics, and the Protocols of a Kafka client. This room imports no client library."""
