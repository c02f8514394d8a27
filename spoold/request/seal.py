"""The MACs of a request file: intake's seal, and the gate's seal on each yes."""

import hmac
from functools import lru_cache


def same(one: str, other: str) -> bool:
    """Whether two seals are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


def mac(key: bytes, purpose: str, data: bytes) -> str:
    """The seal of `data`; one made for another purpose does not fit."""
    found = _keyed(key).copy()
    found.update(purpose.encode() + b"\0" + data)
    return "hmac-sha256:" + found.hexdigest()


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")
