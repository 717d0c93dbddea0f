"""The registry: an ASGI application, its settings, and the process that runs it."""
