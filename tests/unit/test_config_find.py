"""Which configuration file counts."""

import os
import stat
from pathlib import Path

import pytest

from spoold.config import find
from spoold.errors import ConfigError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working directory and a home, both empty, and no variable."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SPOOLD_CONFIG", raising=False)
    return here / "config/spoold.toml", home / ".config/spoold/spoold.toml"


def make(file):
    """An empty file, with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_the_usual_places_have_an_order(places, monkeypatch):
    """Each place counts only while no place before it has a file."""
    here, home = places
    monkeypatch.setattr(os.path, "isfile", _and_etc(os.path.isfile))
    assert find.find(None) == Path("/etc/spoold/spoold.toml")
    make(home)
    assert find.find(None) == home
    make(here)
    assert find.find(None) == Path("config/spoold.toml")
    monkeypatch.setenv("SPOOLD_CONFIG", "/from/the/environment.toml")
    assert find.find(None) == Path("/from/the/environment.toml")
    assert find.find("/given.toml") == Path("/given.toml")


def _and_etc(real):
    return lambda path: str(path) == "/etc/spoold/spoold.toml" or real(path)


@pytest.mark.parametrize("which", ["config/spoold.toml", "config"])
@pytest.mark.parametrize("whose", ["another user's", "everybody's"])
def test_a_stranger_in_the_working_directory_is_not_obeyed(places, monkeypatch, which, whose):
    """A configuration there counts if it is one's own or root's; by its name any does."""
    make(places[0])
    found = Path(which)
    found.chmod(found.stat().st_mode | (0o002 if whose == "everybody's" else 0))
    if whose == "another user's":
        real = os.stat
        monkeypatch.setattr(os, "stat", lambda path: _of_nobody(real(path), path == found))
    with pytest.raises(ConfigError, match="says what runs") as error:
        find.find(None)
    assert str(found.absolute()) in str(error.value)
    assert find.find("config/spoold.toml") == Path("config/spoold.toml")


def _of_nobody(status, is_it):
    values = list(status)
    values[stat.ST_UID] = os.geteuid() + 1 if is_it else os.geteuid()
    return os.stat_result(values)


def test_an_empty_variable_is_none(places, monkeypatch):
    """`SPOOLD_CONFIG=` means the usual places."""
    make(places[0])
    monkeypatch.setenv("SPOOLD_CONFIG", "")
    assert find.find(None) == Path("config/spoold.toml")


def test_if_there_is_none_the_places_are_named(places):
    """The message lists where it looked, and how to make one."""
    if Path("/etc/spoold/spoold.toml").exists():
        pytest.skip("this machine has a configuration")
    with pytest.raises(ConfigError, match="spoold init") as error:
        find.find(None)
    for place in ("config/spoold.toml", str(places[1]), "/etc/spoold/spoold.toml"):
        assert place in str(error.value)
