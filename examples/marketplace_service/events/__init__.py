"""What comes in from Kafka, and what becomes of it."""
