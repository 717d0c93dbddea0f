"""What a command shows while it works: a line for each piece of content, or each exchange with `--debug`."""

from __future__ import annotations

from typing import TextIO

from entrepot.cli.output import Output
from entrepot.text import size
from entrepot.wire.exchange import Action, Decision, Exchange, Record
from entrepot.wire.lines import LineRenderer

__all__ = ["Lines", "Progress", "Tally"]


class Progress:
    """A sink that tells people about decisions, and nothing about exchanges."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, record: Record) -> None:
        """Write the record's line."""
        if isinstance(record, Decision):
            done = (
                f"{record.action.value:<10}  {record.role:<8}  {record.digest.short}  {size(record.size):>10}"
            )
            self._output.note(f"{done}  {record.platform}" if record.platform else done)


class Lines:
    """A sink that shows every record to people.

    Args:
        stream: Where to.
        colour: Whether that is a terminal which shows colours.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._renderer = LineRenderer(colour=colour)

    def __call__(self, record: Record) -> None:
        """Write the record's line."""
        print(self._renderer.render(record), file=self._stream, flush=True)


class Tally:
    """A sink that counts."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.sent = 0
        self.received = 0
        self.actions: dict[Action, int] = {}

    def __call__(self, record: Record) -> None:
        """Count the record."""
        if isinstance(record, Exchange):
            self.exchanges += 1
            self.sent += record.bytes_sent
            self.received += record.bytes_received
        else:
            self.actions[record.action] = self.actions.get(record.action, 0) + 1
