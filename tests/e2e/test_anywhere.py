"""It works wherever the configuration is and wherever it is started."""

import os

from tests.e2e.conftest import Site, argv, command, hook, route


def test_paths_with_spaces_and_another_working_directory(tmp_path, program):
    """A site at an odd path works when started from elsewhere, also by a relative path."""
    folder = tmp_path / "a b $HOME 'q' é"
    folder.mkdir()
    site = Site(folder)
    out = folder / "o u t"
    act = program("act", 'pwd; printf %s "$1"')
    params = argv(act, str(out))
    site.configure(command(act), route("runner", params=params))
    (tmp_path / "else where").mkdir()
    site.drop_many(1)
    try:
        site.spoold("run", "--drain", cwd=tmp_path / "else where")
        site.approve()
        words = [*site.words()[:3], "--config", os.path.relpath(site.config, tmp_path)]
        site.spoold(words=[*words, "run", "--drain"], cwd=tmp_path)
    finally:
        site.close()
    assert site.where() == {"done": 1}
    assert site.request("done")["result"]["output"]["stdout_tail"] == f"/\n{out}"
    assert list((tmp_path / "else where").iterdir()) == []


def test_where_the_configuration_is_looked_for(site, refusing):
    """`--config` wins over $SPOOLD_CONFIG, that over ./config/, that over the home directory."""
    words = site.words()[:3]
    places = {}
    for name in ("given", "env", "here", "home"):
        folder = site.folder / name
        folder.mkdir()
        made = Site(folder).configure(hook(refusing), route().replace('"cutover"', f'"{name}"'))
        places[name] = made.config
    home = places["here"].parents[1] / ".config" / "spoold"
    home.mkdir(parents=True)
    for path in [places["home"], places["home"].parent / "routes.d"]:
        path.rename(home / path.name)
    env = {**site.env, "HOME": str(home.parents[1])}
    with_env = {**env, "SPOOLD_CONFIG": str(places["env"])}
    here = {"cwd": places["here"].parents[1]}
    nowhere = {"cwd": site.folder}

    def route_of(*more, **options):
        said = site.spoold(words=[*words, *more, "check"], **options).stdout
        (line,) = [line for line in said.splitlines() if " route " in line]
        return line.split()[2].rstrip(":")

    given = ["--config", str(places["given"])]
    assert route_of(*given, env=with_env, **here) == "given"
    assert route_of(env=with_env, **here) == "env"
    assert route_of(env=env, **here) == "here"
    assert route_of(env=env, **nowhere) == "home"
