"""Pull, push, copy, inspect: what the command line does, for programs."""

from entrepot.client.client import Client, NamedImage, Pulled
from entrepot.client.inspection import Inspected
from entrepot.client.locations import Location, parse_location

__all__ = ["Client", "Inspected", "Location", "NamedImage", "Pulled", "parse_location"]
