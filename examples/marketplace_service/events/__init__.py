"""Consumers of other services' events, and the dead letters of this one."""
