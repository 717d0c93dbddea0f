"""The registry's own messages: JSON lines on standard error, apart from the access log on standard output.

structlog is loaded by the first message: importing it takes longer than starting a worker may.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Log"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Writes messages of at least one level.

    Args:
        level: debug, info, warning or error.
    """

    def __init__(self, level: str) -> None:
        self._level = _LEVELS[level]
        self._logger: Any = None

    def info(self, event: str, **facts: object) -> None:
        """Say what has happened as it should."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Say what somebody should look at."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Say what has failed; `exc_info` adds the traceback of an exception."""
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
        if _LEVELS[level] < self._level:
            return
        if self._logger is None:
            self._logger = _logger()
        getattr(self._logger, level)(event, **facts)


def _logger() -> Any:  # noqa: ANN401 - structlog's loggers have no other type
    import sys

    import structlog

    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
    )
