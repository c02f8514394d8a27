"""docs/architecture.md: its names exist, and its picture is of today's imports."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

from spoold.states import FOLDERS

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/architecture.md").read_text(encoding="utf-8")


def test_every_step_of_the_walk_is_a_function_that_exists():
    """What the walk of one record names, as `module:name`, can be found in the code."""
    named = re.findall(r"`([\w/.]+\.py):([\w.]+)`", PAGE)
    assert len(named) > 15
    for file, name in named:
        assert (CHECKOUT / "spoold" / file).is_file(), file
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found = importlib.import_module(f"spoold.{module}")
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), name


def test_every_place_that_the_page_sends_to_is_there():
    """A file or folder that the page names lies where it says."""
    rooms = re.findall(r"`((?:\w+/)*\w+(?:\.py|/))`", PAGE)
    assert rooms
    there = [name for name in rooms for at in ("", "spoold", "packaging", "docs")
             if (CHECKOUT / at / name).exists()]  # fmt: skip
    of_a_spool = [name for name in rooms if name.partition("/")[0] in FOLDERS]
    assert set(rooms) - set(there) - set(of_a_spool) == set()


def test_the_picture_is_of_these_imports():
    """docs/architecture.svg is what docs/picture.py draws of the imports as they are."""
    check = [sys.executable, str(CHECKOUT / "docs/picture.py"), "--check"]
    ended = subprocess.run(check, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
