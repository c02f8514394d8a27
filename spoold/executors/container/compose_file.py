"""The container as the engine was asked for it → a compose file for people who want to look.

It lies outside the spool, and spoold never reads it. If it cannot be written or removed, the result
says so. Secrets are `${NAME}`.
"""

import json
import os
import re
from typing import Any

from spoold.executors.container.connection import Facts
from spoold.executors.container.world import World

_NANO = 1e9
#: Keys that need no quotes; any other could be read as a number or as `true`.
_PLAIN = re.compile(
    r"name|services|image|container_name|restart|environment|labels|ports|networks|healthcheck"
    r"|test|interval|timeout|retries|start_period|deploy|resources|limits|reservations|cpus|memory"
    r"|driver|ipam|config|customer"
)


def write(world: World, wanted: Facts, subnet: str, secrets: dict[str, str]) -> str | None:
    """Write the customer's file, if there are to be any; what went wrong, or None."""
    path = _path(world)
    if not path:
        return None
    draft = f"{path}.{os.getpid()}.draft"
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text_of(world, wanted, subnet, secrets))
        os.replace(draft, path)  # noqa: TID251 - not in the spool
    except OSError as error:
        return f"{path} was not written: {error.strerror}"
    return None


def remove(world: World) -> str | None:
    """Remove the customer's file; what went wrong, or None."""
    path = _path(world)
    try:
        if path:
            os.remove(path)  # noqa: TID251 - not in the spool
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} was not removed: {error.strerror}"
    return None


def text_of(world: World, wanted: Facts, subnet: str, secrets: dict[str, str]) -> str:
    """The file: what `docker compose config` takes."""
    head = f"# Written by spoold for {world.customer}, to look at; changing it changes nothing.\n"
    network = {
        "name": world.network_name,
        "driver": "bridge",
        "ipam": {"config": [{"subnet": subnet}]},
    }
    return head + "\n".join(
        _lines(
            {
                "name": re.sub(r"[^a-z0-9_-]", "-", world.name.lower()),
                "services": {world.name: _service(world, wanted, secrets)},
                "networks": {"customer": network},
            }
        )
    ) + "\n"  # fmt: skip


def _service(world: World, wanted: Facts, secrets: dict[str, str]) -> Facts:
    variables = dict(variable.split("=", 1) for variable in wanted["Env"])
    ((inner, (bound,)),) = wanted["HostConfig"]["PortBindings"].items()
    address = f"[{bound['HostIp']}]" if ":" in bound["HostIp"] else bound["HostIp"]
    port = f"{address}:{bound['HostPort']}:{inner}"
    service: Facts = {
        "image": wanted["Image"],
        "container_name": world.name,
        "restart": world.params.restart,
        "environment": {
            name: f"${{{name}}}" if name in secrets else _escaped(value)
            for name, value in variables.items()
        },
        "labels": {name: _escaped(value) for name, value in wanted["Labels"].items()},
        "ports": [port],
        "networks": ["customer"],
    }
    if check := wanted.get("Healthcheck"):
        service["healthcheck"] = {
            "test": [_escaped(word) for word in check["Test"]],
            "interval": _seconds(check["Interval"]),
            "timeout": _seconds(check["Timeout"]),
            "retries": check["Retries"],
            "start_period": _seconds(check["StartPeriod"]),
        }
    if limits := world.params.limits:
        service["deploy"] = {
            "resources": {
                "limits": {"cpus": f"{limits.cpus:g}", "memory": limits.memory},
                "reservations": {
                    "cpus": f"{limits.reserved_cpus:g}",
                    "memory": limits.reserved_memory,
                },
            }
        }
    return service


def _path(world: World) -> str:
    folder = world.config.compose_dir
    return os.path.join(folder, f"docker-compose-{world.customer}.yml") if folder else ""


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / _NANO:g}s"


def _escaped(text: str) -> str:
    """Text in which compose is not to look for variables."""
    return text.replace("$", "$$")


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """YAML: blocks for objects, and JSON, which is YAML too, for all else."""
    lines = []
    for key, inner in value.items():
        name = key if _PLAIN.fullmatch(key) else _json(key)
        if isinstance(inner, dict) and inner:
            lines += [f"{indent}{name}:", *_lines(inner, f"{indent}  ")]
        else:
            lines.append(f"{indent}{name}: {_json(inner)}")
    return lines


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # What JSON takes as it is, and YAML does not.
    return re.sub(
        "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text
    )
