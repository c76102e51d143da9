"""A consumer of marketplace events on AWS Lambda that publishes events of its own."""
