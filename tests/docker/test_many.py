"""Many customers at once: no port, no network and no container leaks or is given twice."""

import random
import threading
from collections import Counter

import pytest

from tests.docker.spool import ENDS, ContainerSite
from tests.docker.yard import until
from tests.e2e.conftest import read

CUSTOMERS, ACTIONS = 40, 200


class Watch(threading.Thread):
    """Looks all the time whether two containers have the same port or subnet."""

    def __init__(self, yard):
        super().__init__(daemon=True)
        self.yard, self.over = yard, threading.Event()
        self.looks, self.most, self.twice = 0, 0, []
        self.start()

    def run(self):
        """Look again and again."""
        label = f"/{self.yard.prefix}"
        while not self.over.wait(0.1):
            found = self.yard.api.containers()
            mine = [one for one in found if one["Names"][0].startswith(label)]
            ports = Counter(port["PublicPort"] for one in mine for port in one["Ports"])
            self.twice += [port for port, count in ports.items() if count > 1]
            self.looks, self.most = self.looks + 1, max(self.most, len(mine))

    def end(self):
        """Stop looking."""
        self.over.set()
        self.join()


@pytest.fixture
def site(tmp_path, yard):
    """A site on a corner of the engine; forty health checks at once would be all that it does."""
    made = ContainerSite(tmp_path, yard, health=None, stop_timeout="1s")
    yield made
    made.close()


@pytest.mark.timeout(500)
def test_two_hundred_creates_and_deletes_leak_nothing(site):
    """In random order and four at a time all succeed, and what is left is what was asked last."""
    chance, yard = random.Random(4711), site.yard
    for _ in range(ACTIONS):
        site.ask(chance.choice(["create", "delete"]), f"c{chance.randrange(CUSTOMERS)}")
    watch = Watch(yard)
    service = site.start("run")
    until(lambda: len(site.files(*ENDS)) == ACTIONS, "all", 240)
    watch.end()
    assert site.where() == {"done": ACTIONS}
    assert (watch.twice, watch.looks > 50, watch.most > 4) == ([], True, True)
    last = {}
    for request in sorted(
        map(read, site.files("done")), key=lambda r: r["attempts"][-1]["started_at"]
    ):
        last[request["params"]["customer"]] = request["params"]["action"]
    there = sorted(name for name, action in last.items() if action == "create")
    assert yard.containers() == [f"c-{name}" for name in there]
    assert yard.networks() == [f"n-{name}" for name in there]
    ports = yard.ports_in_use()
    assert len(set(ports)) == len(there)
    assert ports[-1] < yard.ports[0] + CUSTOMERS
    for name in there:
        site.ask("delete", name)
    until(lambda: len(site.files("done")) == ACTIONS + len(there), "all deleted", 120)
    assert (yard.containers(), yard.networks(), yard.ports_in_use()) == ([], [], [])
    site.ask("create", "last")
    until(lambda: len(site.files("done")) == ACTIONS + len(there) + 1, "one more", 60)
    assert yard.ports_in_use() == [yard.ports[0]]
    assert site.stop(service) == 0
