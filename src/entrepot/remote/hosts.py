"""Where a registry is: the scheme, host and port that its name stands for."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from yarl import URL

from entrepot.errors import ConfigError, ConnectionFailed
from entrepot.remote.options import RemoteOptions
from entrepot.remote.urls import is_loopback

__all__ = ["Hopeless", "base_url", "loopback_address", "tls_context"]

PROBE_SECONDS = 3.0


class Hopeless(ConnectionFailed):
    """A fault that trying again does not mend: a certificate, a name that does not exist, nobody at home."""


async def base_url(api_host: str, options: RemoteOptions) -> URL:
    """Return `scheme://host:port` of a registry.

    Another machine is reached over https unless `plain_http` was asked for. This machine is reached over
    https if it answers a TLS handshake, else over http; that costs one connection, nothing is sent on it.

    Raises:
        Hopeless: Nobody listens there on this machine.
    """
    secure = URL(f"https://{api_host}", encoded=True)
    plain = URL(f"http://{api_host}", encoded=True)
    if options.plain_http:
        return plain
    host = secure.raw_host or ""
    if not is_loopback(host):
        return secure
    try:
        speaks_tls = await _speaks_tls(loopback_address(host), secure.port or 443)
    except OSError:
        if secure.explicit_port is None:
            return plain  # nobody at 443, so perhaps at 80
        raise Hopeless(
            f"nobody listens: {api_host}", peer=api_host, hint="is the registry running?"
        ) from None
    return secure if speaks_tls else plain


def loopback_address(host: str) -> str:
    """Return what to connect to for a name of this machine: `*.localhost` is not known to every resolver."""
    return "localhost" if host.rstrip(".").lower().endswith(".localhost") else host


def tls_context(options: RemoteOptions) -> ssl.SSLContext:
    """Return how servers are verified: by the system's certificates and those of `cacert`.

    Raises:
        ConfigError: `cacert` cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if options.cacert is not None:
        _trust(context, options.cacert)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trust(context: ssl.SSLContext, cacert: Path) -> None:
    try:
        context.load_verify_locations(cafile=cacert)
    except ssl.SSLError:
        raise ConfigError([f"not a file of certificates (PEM): {cacert}"]) from None
    except OSError as error:
        raise ConfigError([f"the certificates cannot be read, {error.strerror}: {cacert}"]) from None


async def _speaks_tls(host: str, port: int) -> bool:
    """Tell whether a port of this machine completes a TLS handshake; whose certificate it has is asked later.

    Raises:
        OSError: Nobody listens.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        # an alert is something that only a TLS server says, for instance that it wants a client's certificate
        return "alert" in str(error).lower()
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        return False
    writer.transport.abort()
    return True
