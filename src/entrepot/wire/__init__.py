"""The conversation between client and registry: recorded, redacted, drawn."""

from entrepot.wire.exchange import Action, Cause, Decision, Exchange, Record, Times

__all__ = ["Action", "Cause", "Decision", "Exchange", "Record", "Times"]
