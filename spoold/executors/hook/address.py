"""An address as text → the URL that will be called, or a refusal."""

import re
from urllib.parse import parse_qsl

import httpx

_LONGEST = 4096
_HIGHEST_PORT = 65_535
#: What a route may put behind a prefix: no character means something to a proxy or a receiver, and
#: no part of the path is empty or nothing but dots. The list's own entries may have any.
_BELOW = re.compile(r"(?:(?!\.+(?:/|\Z))[A-Za-z0-9._~@:-]+(?:/|\Z))*")
_SECRETS = frozenset(
    {"token", "secret", "key", "access_token", "auth_token", "api_key", "apikey", "password"}
)


def parse(text: str) -> httpx.URL:
    """Read an address with the same parser that the call uses, so that both see the same host.

    Raises:
        ValueError: it is malformed, ambiguous, or carries a secret.
    """
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text or len(text) > _LONGEST:
        raise ValueError(
            f"the url is at most {_LONGEST} printable ASCII characters, without spaces or backslash"
        )
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError(f"{text!r} is no url") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("the url must begin with http:// or https:// and a host")
    if url.port is not None and not 0 < url.port <= _HIGHEST_PORT:
        raise ValueError(f"the url's port must be between 1 and {_HIGHEST_PORT}")
    # From the text: the parser has resolved `..`, which a receiver may resolve in another way.
    authority, _, path = text.partition("?")[0].partition("://")[2].partition("/")
    if "@" in authority:
        raise ValueError("the url must not carry a user or password; use `token`")
    if "#" in text:
        raise ValueError("the url must not have a fragment (#)")
    # A receiver may decode twice, and some cut `;…` off a segment first.
    if re.search(r"%(25)*(2e|2f|5c|00)", path, re.IGNORECASE) or any(
        segment.split(";")[0] in {".", ".."} for segment in path.split("/")
    ):
        raise ValueError("the url's path must not contain `.` or `..` segments or hide / and .")
    names = {name.lower() for name, _ in parse_qsl(url.query.decode(), keep_blank_values=True)}
    if names & _SECRETS:
        raise ValueError(
            f"the url must not carry a secret ({', '.join(sorted(names & _SECRETS))}=): everybody "
            "who reads the request could use it, and OpenClaw refuses it there; use `token`"
        )
    return url


def allows(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of the allow-list is this address, or ends in `/` and begins it.

    What follows such an entry takes letters, digits and `-._~@:/` in its path.
    """
    allowed = parse(entry)
    if (allowed.scheme, allowed.host, allowed.port) != (url.scheme, url.host, url.port):
        return False
    if entry.endswith("/") and not allowed.query:
        path, prefix = (one.raw_path.partition(b"?")[0].decode() for one in (url, allowed))
        below = path.removeprefix(prefix)
        return path.startswith(prefix) and _BELOW.fullmatch(below) is not None
    return url.raw_path == allowed.raw_path
