"""The conversation between client and registry: recorded, redacted, drawn."""

from entrepot.wire.exchange import Action, Cause, Decision, Exchange, Record, Times
from entrepot.wire.jsonl import JsonLinesFile, read_records, record_to_line
from entrepot.wire.lines import LineRenderer, render_lines
from entrepot.wire.record import Recorder, Recording, Sink

__all__ = [
    "Action",
    "Cause",
    "Decision",
    "Exchange",
    "JsonLinesFile",
    "LineRenderer",
    "Record",
    "Recorder",
    "Recording",
    "Sink",
    "Times",
    "read_records",
    "record_to_line",
    "render_lines",
]
