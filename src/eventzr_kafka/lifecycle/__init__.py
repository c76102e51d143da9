"""Processes, signals, shutdowns and state lines: shared by runners, producers and relays."""
