"""`UsageError`: a wrong command line."""

from __future__ import annotations

from eventzr_kafka.errors import ConfigurationError

__all__ = ["UsageError"]


class UsageError(ConfigurationError):
    """The command line, or a file that it names, is wrong."""
