"""What the conformance suite feeds each kind.

A third party's kind is tested by the same suite: beside its entry point in `spoold.executors` it
offers one of the same name in `spoold.executors.examples`, a mapping with the keys below.

    config   an executor's table, without `kind`
    params   what a route gives; it must run in a second or less, with nothing else at hand
    refused  such params, each of which `check` must refuse
"""

import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

_NOWHERE = "http://127.0.0.1:9/hooks/"  # the discard port: nobody listens there

EXAMPLES: dict[str, Mapping[str, Any]] = {
    "agent": {
        "config": {"commands": {"it": {"argv": [sys.executable, "-c", "print('ä')"]}}},
        "params": {"agent": "it", "prompt": "do it", "cwd": "/tmp"},
        "refused": [
            {"agent": "sh", "prompt": "do it", "cwd": "/tmp"},
            {"agent": "it", "prompt": "do it", "cwd": "tmp"},
            {"agent": "it", "prompt": "do it", "cwd": "/tmp", "model": "--yolo"},
        ],
    },
    "command": {
        "config": {
            "programs": [sys.executable, "true"],
            "timeout": "5s",
            "env": {"A": "1"},
            "planes": {"local": ["true", "{target_ref}"]},
            "preconditions": [{"file": "/no/such/state.json", "non_empty": ["status"]}],
            "on_failed_precondition": "warn",
        },
        "params": {"argv": [sys.executable, "-c", "print('ä')"], "stdin": "", "cwd": "/tmp"},
        "refused": [{"argv": ["sh", "-c", "true"]}, {"argv": ["true", "a\0b"]}],
    },
    "container": {
        "config": {
            "engine": "unix:///nonexistent/docker.sock",
            "image": "app:1",
            "environment": {"MODE": "ok", "DATABASE_URL": {"env": "HOOK_TOKEN"}},
            "plans": {"small": {"cpus": 0.5, "memory": "64M"}},
        },
        "params": {"action": "create", "customer": "ab12", "plan": "small"},
        "refused": [
            {"action": "create", "customer": "../x", "plan": "small"},
            {"action": "create", "customer": "ab12", "plan": "large"},
            {"action": "create", "customer": "ab12", "plan": "small", "port": 22},
            {"action": "delete"},
        ],
    },
    "hook": {
        "config": {"urls": [_NOWHERE], "token": {"env": "HOOK_TOKEN"}, "timeout": "500ms"},
        "params": {"url": f"{_NOWHERE}a?b=c", "body": {"n": [1, 2.5, None, "ä"]}},
        "refused": [
            {"url": "http://127.0.0.1:9/other"},
            {"url": f"{_NOWHERE}../x"},
            {"url": f"{_NOWHERE}agent", "body": {"message": " "}},
        ],
    },
    **{point.name: point.load() for point in entry_points(group="spoold.executors.examples")},
}
