"""The adapter to confluent-kafka (librdkafka); nothing outside of this package imports that client."""
