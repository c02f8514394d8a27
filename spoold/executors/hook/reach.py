"""An address → whether its host can be connected to, without sending a request."""

import socket
import ssl

import httpx

from spoold.executors import Finding

#: Seconds to wait for a connection, and for TLS.
_TIMEOUT = 3.0
_PORTS = {"http": 80, "https": 443}


def origin(url: httpx.URL) -> str:
    """Scheme, host and port: what fails and recovers as one destination."""
    return f"{url.scheme}://{url.netloc.decode()}"


def can_connect(url: httpx.URL, trust: ssl.SSLContext) -> Finding:
    """Connect, agree on TLS if that is asked for, and hang up."""
    host = url.raw_host.decode()
    try:
        with socket.create_connection((host, url.port or _PORTS[url.scheme]), _TIMEOUT) as plain:
            if url.scheme == "https":
                with trust.wrap_socket(plain, server_hostname=host) as agreed:
                    return Finding(origin(url), ok=True, detail=f"answers, {agreed.version()}")
    except (OSError, ValueError) as error:
        return Finding(origin(url), ok=False, detail=f"cannot be reached: {error}")
    return Finding(origin(url), ok=True, detail="answers")
