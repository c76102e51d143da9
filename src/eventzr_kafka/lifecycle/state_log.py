"""One log line when something begins to fail, one when it works again."""

from __future__ import annotations

import logging

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock

__all__ = ["StateLog"]


class StateLog:
    """Logs changes between working and failing, however often the same failure is reported. Any thread may use it.

    Attributes:
        reason: The reason for the failure that lasts now; None while everything works.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        failure_level: int = logging.ERROR,
        recovery_level: int = logging.WARNING,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin in the working state."""
        self.reason: str | None = None
        self._log = log
        self._failure_level = failure_level
        self._recovery_level = recovery_level
        self._monotonic = clock.monotonic
        self._since = 0.0

    def report_failure(self, reason: str, text: str, *args: object) -> None:
        """Log a line, unless the last report was a failure for the same reason."""
        if self.reason is None:
            self._since = self._monotonic()
        if reason != self.reason:
            self.reason = reason
            self._log.log(self._failure_level, text, *args)

    def report_success(self, text: str, *args: object) -> None:
        """Log a line that ends in the duration of the failure, if there was one."""
        reason, self.reason = self.reason, None  # in one step: another thread may report a success, too
        if reason is not None:
            line = f"{text} after %.1f s"
            self._log.log(self._recovery_level, line, *args, self._monotonic() - self._since)
