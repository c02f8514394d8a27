"""What a person wrote → what an engine takes, or a `ValueError` that says why it would not."""

import ipaddress
import re
from collections.abc import Iterable

_HIGHEST_PORT = 65_535
_CUSTOMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure:([1-9][0-9]{0,3})")


def port_range(text: str) -> range:
    """`5000-14999` → the ports of it, both ends included.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    ends = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < ends[0] <= ends[1] <= _HIGHEST_PORT:
        raise ValueError(f"{text!r} is no range of ports such as 5000-14999")
    return range(ends[0], ends[1] + 1)


def pool(text: str, size: int) -> Iterable[ipaddress.IPv4Network]:
    """The subnets of a pool such as `10.213.0.0/16`, lowest first.

    Raises:
        ValueError: it is none, or its subnets would not fit into it.
    """
    try:
        whole = ipaddress.IPv4Network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no network such as 10.213.0.0/16") from None
    if not whole.prefixlen <= size:
        raise ValueError(f"a /{size} does not fit into {text}")
    return whole.subnets(new_prefix=size)


def customer_id(customer: object) -> str:
    """Refuse an id that could mean something else in a name, a path, a label or an expression."""
    if isinstance(customer, str) and _CUSTOMER.fullmatch(customer):
        return customer
    raise ValueError(
        "a customer's id is at most 63 letters, digits and . _ - (the first a letter or digit), "
        f"which {str(customer)[:80]!r} is not"
    )


def must_be_name(name: str) -> None:
    """Refuse what the engine would not take for a name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name that a container or network can have")


def must_be_image(image: str) -> None:
    """Refuse what cannot name an image."""
    if not _IMAGE.fullmatch(image):
        raise ValueError(f"{image[:80]!r} is no name of an image")


def must_be_variables(names: Iterable[str]) -> None:
    """Refuse names that no environment takes, and the one that is ours."""
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is no name of a variable")
        if name == "CUSTOMER_ID":
            raise ValueError("the variable CUSTOMER_ID is set by spoold")


def must_be_address(text: str) -> None:
    """Refuse what is no address of a host."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no IP address to publish a port on") from None


def restart_policy(text: str) -> dict[str, str | int]:
    """`on-failure:5` → as the engine takes it.

    Raises:
        ValueError: it is no policy, or one without a cap.
    """
    found = _RESTART.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:40]!r} is no policy: no, on-failure:5, unless-stopped or always")
    name, _, _ = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(found[1] or 0)}
