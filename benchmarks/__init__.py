"""`make bench`: compares this package with a bare client and its peers, on a real Kafka."""
