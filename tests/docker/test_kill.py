"""`kill -9` at every call to the engine: after a restart the world is as the files say."""

import pytest

from tests.docker.spool import ContainerSite

#: The calls of a create, up to its being waited for; of a delete and of a restart.
BEFORE = [("create", n) for n in range(1, 15)] + [("delete", n) for n in range(1, 8)]
BEFORE += [("restart", n) for n in range(1, 8)]
DURING = [("create", n) for n in range(1, 4)] + [("delete", n) for n in range(1, 4)]
DURING += [("restart", 1)]


@pytest.fixture
def site(tmp_path, yard):
    """A site on a corner of the engine."""
    made = ContainerSite(tmp_path, yard)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("moment", "action", "number"),
    [("before", *one) for one in BEFORE] + [("during", *one) for one in DURING],
)
def test_a_kill_at_any_call_leaves_what_the_files_say(site, moment, action, number):
    """Whatever a killed executor had done by then, the next one brings it to the stated end."""
    made = None if action == "create" else site.yard.go("create")
    site.ask(action)
    assert site.killed(moment, number), "it made fewer calls"
    site.settle()
    request = site.request("done")
    if action == "delete":
        assert (site.yard.containers(), site.yard.networks()) == ([], [])
        return
    facts = site.yard.inspect()
    assert (site.yard.containers(), site.yard.networks()) == (["c-a"], ["n-a"])
    assert facts["State"]["Health"]["Status"] == "healthy"
    assert request["result"]["details"]["container"] == facts["Id"][:12]
    assert request["result"]["details"]["port"] == site.yard.ports[0]
    if action == "create":
        assert facts["Config"]["Labels"]["spoold.dispatch_id"] == request["dispatch_id"]
    else:
        assert facts["Id"][:12] == made.details["container"]
        assert facts["State"]["StartedAt"] > request["attempts"][0]["started_at"][:19]


def test_no_change_is_missing_among_those(site):
    """A create and a delete change the engine three times each, and were killed at each."""
    site.ask("create")
    assert not site.killed("during", 4)
    site.ask("delete")
    assert not site.killed("during", 4)
    assert site.where() == {"done": 2}
