"""Processes, signals and shutdowns: what a runner and a producer share about the process they live in."""
