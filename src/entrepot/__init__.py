"""Entrepot: an OCI container registry and client that you can see through."""

__version__ = "0.1.0"
