"""`make bench`: this package against a bare client and its peers, on a real Kafka."""
