"""Containers through the whole service: stopped, cancelled, retried; what its files say."""

import pytest

from tests.docker.spool import ContainerSite
from tests.docker.yard import SECRET, until
from tests.e2e.conftest import read


@pytest.fixture
def make_site(tmp_path, yard):
    """Makes a site on a corner of the engine."""
    made = []

    def make(**more):
        made.append(ContainerSite(tmp_path, yard, **more))
        return made[-1]

    yield make
    for site in made:
        site.close()


def slow(yard, mode="slow"):
    """Containers that take their time to become healthy, or never do."""
    return {"environment": yard.mode(mode), "health": yard.health(retries=100)}


def running(site):
    """The request that runs, once it is known what it waits for."""

    def waits():
        found = [read(file) for file in site.files("running")]
        return found and found[0]["attempts"] and found[0]["attempts"][-1].get("progress")

    return until(waits, "it is shown what it waits for")


def test_a_request_shows_what_it_waits_for(make_site, yard):
    """While a container starts, its request file names it and says how it is."""
    site = make_site(**slow(yard))
    site.ask("create")
    service = site.start("run")
    progress = running(site)
    assert progress["health"] == "starting"
    assert progress["container"] == yard.inspect()["Id"][:12]
    site.wait_for("done")
    site.stop(service)


def test_a_service_that_is_stopped_finds_its_container_again(make_site, yard):
    """SIGTERM while a container starts leaves it starting; the next run ends the same attempt."""
    site = make_site(**slow(yard))
    site.ask("create")
    service = site.start("run")
    running(site)
    before = yard.inspect()["Id"]
    assert site.stop(service) == 0
    assert site.where() == {"running": 1}
    site.drain()
    request = site.request("done")
    assert [attempt["number"] for attempt in request["attempts"]] == [1]
    assert request["result"]["details"]["container"] == before[:12]
    assert yard.inspect()["State"]["StartedAt"] < request["result"]["ended_at"]


def test_a_cancel_removes_what_was_made(make_site, yard):
    """`spoold cancel` of a create that waits ends it, and leaves nothing in the engine."""
    site = make_site(**slow(yard, "sick"), ready_timeout="60s")
    site.ask("create")
    service = site.start("run")
    running(site)
    (file,) = site.files("running")
    site.spoold("cancel", file.stem, "--reason", "wrong customer")
    site.wait_for("failed")
    assert site.request("failed")["result"]["code"] == "cancelled"
    assert (yard.containers(), yard.networks()) == ([], [])
    site.stop(service)


def test_a_failed_create_can_be_retried(make_site, yard, image):
    """After what was missing is there, `spoold retry` makes the container under the same id."""
    name = f"{image.partition(':')[0]}-later:1"
    site = make_site(image=name)
    site.ask("create")
    site.drain()
    failed = site.request("failed")
    assert failed["result"]["code"] == "image-missing"
    yard.api.tag(image, *name.split(":"))
    site.spoold("retry", "--yes", failed["dispatch_id"])
    site.settle()
    done = site.request("done")
    assert done["dispatch_id"] == failed["dispatch_id"]
    assert [attempt["code"] for attempt in done["attempts"]] == ["image-missing", "created"]
    assert yard.inspect()["Config"]["Labels"]["spoold.dispatch_id"] == done["dispatch_id"]
    site.ask("delete")
    site.drain()
    yard.api.remove_image(name)


def test_an_engine_that_is_away_uses_up_no_try(make_site, yard):
    """Requests wait for the engine in deferred/, and their attempts stay as good as not made."""
    site = make_site(engine="unix:///nonexistent/docker.sock")
    site.ask("create")
    site.drain()
    (file,) = site.files("deferred")
    (attempt,) = read(file)["attempts"]
    assert (attempt["code"], attempt["outcome"]) == ("engine-unreachable", "handed-back")


def test_no_file_of_the_spool_holds_a_secret(make_site, yard, tmp_path):
    """Requests, results, logs and compose files show only where the secret is."""
    composed = tmp_path / "compose"
    composed.mkdir()
    site = make_site(
        environment=yard.mode("exit"), restart="no", health=None, compose_dir=str(composed)
    )
    site.ask("create")
    site.ask("create", "b", plan="gold")
    site.drain()
    site.configure(site.config.read_text().replace('"exit"', '"ok"').partition("\n")[2])
    site.ask("create", "c")
    site.settle()
    assert site.where() == {"done": 1, "failed": 1}
    assert [file.name for file in composed.iterdir()] == ["docker-compose-c.yml"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    text = b"".join(path.read_bytes() for path in files)
    assert b"[redacted]" in text
    assert b"${SECRET_URL}" in text
    for part in (SECRET, "p-7f3a"):
        assert part.encode() not in text
    site.ask("delete", "c")
    site.settle()
    assert list(composed.iterdir()) == []


def test_the_doctor_looks_at_the_engine(make_site, yard):
    """`spoold doctor` names the engine's version and a missing image, and fails for that."""
    site = make_site()
    found = site.spoold("doctor").stdout
    assert f"docker (executor docker): {yard.api.version()['Version']} at " in found
    site = make_site(image="nowhere:1")
    ended = site.spoold("doctor", ok=False)
    assert ended.returncode == 69
    assert "MISSING image nowhere:1" in ended.stdout
