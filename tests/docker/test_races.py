"""Several processes choose at the same time: no port, subnet or name is given twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import CHECKOUT

RIVALS = 3


@pytest.fixture
def rivals(yard, tmp_path):
    """Lets processes create containers, all at the same moment; how each ended."""

    def race(*given, **params):
        processes = []
        for number, (customers, more) in enumerate(given):
            process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("rival.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            table = yard.table(health=None, **more)
            del table["health"]
            folder = tmp_path / str(number)
            folder.mkdir()
            asked = {"customers": customers, "dispatch": f"d{number}", "params": params}
            process.stdin.write(json.dumps({**asked, "table": table, "folder": str(folder)}) + "\n")
            process.stdin.flush()
            processes.append(process)
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=90)[0] for process in processes]
        return [one for text in said for one in json.loads(text)]

    return race


def test_processes_that_choose_at_once_never_give_a_port_twice(yard, rivals):
    """Three processes create five customers each at once: fifteen ports, one for each.

    They publish on different addresses, so that not even the engine would notice.
    """
    ended = rivals(
        *(([f"{n}{c}" for c in "abcde"], {"publish": f"127.0.0.{n + 1}"}) for n in range(RIVALS))
    )
    assert {one["code"] for one in ended} == {"created"}
    ports = [one["port"] for one in ended]
    assert len(set(ports)) == len(ports) == 15
    assert yard.ports_in_use() == sorted(ports)
    assert max(ports) < yard.ports[0] + 30
    subnets = [
        one["IPAM"]["Config"][0]["Subnet"]
        for one in yard.api.networks()
        if one["Name"].startswith(yard.prefix)
    ]
    assert len(set(subnets)) == len(subnets) == 15


def test_of_two_who_want_one_port_one_gets_it(yard, rivals):
    """The same port asked for by two at once is given to one at the most, and the other is told."""
    port = yard.ports[4]
    ended = rivals((["a"], {}), (["b"], {}), (["c"], {}), port=port)
    won = [one["customer"] for one in ended if one["code"] == "created"]
    assert len(won) <= 1
    assert {one["code"] for one in ended} <= {"created", "port-taken"}
    assert yard.containers() == [f"c-{customer}" for customer in won]
    assert yard.networks() == [f"n-{customer}" for customer in won]


def test_of_two_who_make_one_customer_one_does(yard, rivals):
    """Executors that create the same customer at once make one container and one network.

    Those that hindered each other try again later; what they had made meanwhile is gone.
    """
    ended = rivals((["a"], {}), (["a"], {}), (["a"], {}))
    codes = [one["code"] for one in ended]
    assert set(codes) <= {"created", "already-there", "exists", "network-contended"}, ended
    assert codes.count("created") <= 1
    expected = (["c-a"], ["n-a"]) if "created" in codes else ([], [])
    assert (yard.containers(), yard.networks()) == expected
    assert yard.go("create", config=yard.config(health=None)).code in ("created", "already-there")
    assert (yard.containers(), yard.networks()) == (["c-a"], ["n-a"])
