"""The man pages: every folder, key, word, code of a reason, unit and field is in them.

What a page names is compared with what the code has, in both directions.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from spoold import errors, executors, request, rights, routing, sources
from spoold.config import configuration
from spoold.config.secrets import SecretRef
from spoold.config.settings import (
    ExecutorTable,
    HealthTable,
    MetricsTable,
    RouteTable,
    Settings,
    SourceTable,
)
from spoold.record import FIELDS
from spoold.sources import plane
from spoold.spool.seal_key import SEAL_KEY
from spoold.states import FOLDERS, HOLD, Per
from tests.unit._manual import CHECKOUT, KINDS, MAN, items, named, page

FORMATS = sources.FORMATS


@dataclass(frozen=True)
class Claim:
    """A section of a page has exactly these entries."""

    where: str
    section: str
    sub: str | None
    wanted: frozenset[str]
    macro: str = "Cm"

    def found(self, text):
        """What the section has entries about."""
        return named(text, self.section, self.sub, self.macro)

    def __str__(self):
        """For the name of a test."""
        return f"{self.where}:{self.section}:{self.sub or ''}".replace(" ", "-")


def claim(where, section, sub, wanted, macro="Cm"):
    """A claim."""
    return Claim(where, section, sub, frozenset(wanted), macro)


def of_model(*models):
    """The keys of models."""
    return {key for model in models for key in model.model_fields}


def of_record(model):
    """The names of a dataclass' fields."""
    return {one.name for one in fields(model) if one.name != "_"}


def units():
    """The files of systemd's."""
    return {path.name for path in (CHECKOUT / "packaging/systemd").iterdir()}


OPTIONS = [sources.load(name).Options for name in FORMATS]
TOML, ROUTES, REQUEST = "spoold.toml.5", "spoold-routes.5", "spoold-request.5"
GROUPS = {*rights.USERS.values(), *rights.GROUPS.values(), rights.EVERYBODY}
CLAIMS = [
    claim(TOML, "TOP LEVEL", None, of_model(Settings)),
    claim(TOML, "TABLES", "Table sources.NAME", of_model(SourceTable, *OPTIONS)),
    claim(TOML, "TABLES", "Table sources.NAME.plane", of_model(plane.Options)),
    claim(TOML, "TABLES", "Table executors.NAME", of_model(ExecutorTable)),
    *(claim(TOML, "TABLES", f"Keys of kind {kind}", of_model(executors.load(kind).Config))
      for kind in KINDS),
    claim(TOML, "TABLES", "Table health", of_model(HealthTable)),
    claim(TOML, "TABLES", "Table metrics", of_model(MetricsTable)),
    claim(ROUTES, "KEYS", None, of_model(RouteTable)),
    claim(ROUTES, "CEL", None, set(FIELDS)),
    *(claim(ROUTES, "PARAMETERS", kind, of_model(executors.load(kind).Params)) for kind in KINDS),
    claim(REQUEST, "KEYS", "source", of_record(request.Source)),
    claim(REQUEST, "KEYS", "approval", of_record(request.Policy)),
    claim(REQUEST, "KEYS", "repeats", of_record(request.Repeat)),
    claim(REQUEST, "KEYS", "approvals", of_record(request.Approval)),
    claim(REQUEST, "KEYS", "attempts", of_record(request.Attempt)),
    claim(REQUEST, "KEYS", "result", of_record(request.Result)),
    claim("spoold.8", "SERVICES", None, units(), "Pa"),
    claim("spoold.8", "USERS AND GROUPS", None, {*GROUPS, rights.user_of("NAME")}, "Sy"),
]  # fmt: skip


@pytest.mark.parametrize("one", CLAIMS, ids=str)
def test_a_section_names_what_there_is_and_nothing_else(one):
    """Each key, field, unit and user has its entry, and each entry is about one that exists."""
    assert one.found(page(one.where)) == one.wanted


def test_the_fields_of_a_request_are_those_of_the_page():
    """The list before the subsections is the file's first level."""
    text = page(REQUEST)
    first = text[: text.index(".Ss source")]
    assert named(first, "KEYS") == of_record(request.Request)


def tables_in(annotation) -> set[type[BaseModel]]:
    """The models that a key's value is made of; references to secrets are explained once."""
    if isinstance(annotation, type):
        fits = issubclass(annotation, BaseModel) and annotation is not SecretRef
        return {annotation} if fits else set()
    return {model for part in get_args(annotation) for model in tables_in(part)}


#: A table that has a section of its own.
APART = {"sources", "executors", "health", "metrics", "plane"}
INSIDE = [
    *((TOML, "TABLES", one.sub, model) for one, model in zip(CLAIMS[1:4], (
        SourceTable, plane.Options, ExecutorTable), strict=True)),
    (TOML, "TABLES", "Table health", HealthTable),
    *((TOML, "TABLES", f"Keys of kind {kind}", executors.load(kind).Config) for kind in KINDS),
    (ROUTES, "KEYS", None, RouteTable),
    *((ROUTES, "PARAMETERS", kind, executors.load(kind).Params) for kind in KINDS),
]  # fmt: skip


@pytest.mark.parametrize(("where", "section", "sub", "model"), INSIDE)
def test_what_a_key_takes_is_named_with_it(where, section, sub, model):
    """Keys inside it (`{ tries = 8 }`) and its words (`on_repeat = "fold"`) are in its text."""
    texts = {name: item for item in items(page(where), section, sub) for name in item.names("Cm")}
    for key, info in model.model_fields.items():
        wanted = of_model(*tables_in(info.annotation))
        # A parameter's own page says what is inside it, and `limits` are nobody's to set.
        elsewhere = key in APART or texts[key].text.startswith(("Parameters", "Follow"))
        if wanted and not elsewhere:
            assert wanted <= texts[key].mentioned, key
        if not texts[key].text.startswith("Parameters"):
            assert words_in(info.annotation) <= {*re.findall(r"[\w-]+", texts[key].text)}, key


def words_in(annotation) -> set[str]:
    """The words that a key may have as its value."""
    if get_origin(annotation) is Literal:
        return {str(word) for word in get_args(annotation)}
    return {word for part in get_args(annotation) for word in words_in(part)}


def test_a_reference_to_a_secret_is_explained():
    """The page of the configuration names the three places where a secret may be."""
    said = {name for item in items(page(TOML), "DESCRIPTION") for name in item.mentioned}
    assert said == of_model(SecretRef)


# Codes


def test_every_code_of_a_reason_is_explained():
    """What a reason file can say is listed by the folder that it is found in."""
    text = page(REQUEST)
    subs = re.findall(r"^\.Ss (Codes .*)$", text, re.MULTILINE)
    assert {code for sub in subs for code in named(text, "REASON FILES", sub)} == {*errors.ADVICE}


# Folders


def path_of(folder):
    """Its path as a page writes it."""
    key = {Per.SOURCE: "SOURCE", Per.EXECUTOR: "EXECUTOR", Per.NOTHING: ""}[folder.per]
    return folder.path(key) + "/"


def test_every_folder_is_explained():
    """spoold(8) has each folder with its meaning, and two files; and no folder that is not."""
    said = {name: item.text for item in items(page("spoold.8"), "THE FOLDERS")
            for name in item.names("Pa")}  # fmt: skip
    for folder in FOLDERS.values():
        spellings = {path_of(folder) + more for more in ("", "DATE/", "ID/")}
        (text,) = [text for name, text in said.items() if name in spellings]
        assert folder.meaning.partition(";")[0] in text[0].lower() + text[1:]
    assert len(said) == len(FOLDERS) + len({HOLD, SEAL_KEY})


def test_every_folder_that_fills_has_its_section():
    """The page for operators has one section a folder."""
    text = (CHECKOUT / "docs/how-to/when-a-folder-fills.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    named_there = {name for section in sections for name in section.split(" and ")}
    assert named_there == {re.sub("/+", "/", f.path("")).strip("/") for f in FOLDERS.values()}


# What ends a service


def test_the_pages_say_what_is_started_again():
    """After every exit code but those that the units name, in the time that the units name."""
    units = "".join(path.read_text(encoding="utf-8")
                    for path in (CHECKOUT / "packaging/systemd").glob("*.service"))  # fmt: skip
    (seconds,) = {*re.findall(r"^RestartSec=(.*)$", units, re.MULTILINE)}
    (never,) = {*re.findall(r"^RestartPreventExitStatus=(.*)$", units, re.MULTILINE)}
    said = {item.heading: item.text for item in items(page("spoold.1"), "EXIT STATUS")}
    assert f"started again after {seconds} seconds" in said[str(os.EX_IOERR)]
    assert f"every other failure but {never}" in said[str(os.EX_IOERR)]
    assert "does not start a service again" in said[never]
    recovery = page("spoold.8").partition(".Sh RECOVERY")[2].partition(".Sh ")[0]
    assert f"RestartSec ({seconds} seconds)" in " ".join(recovery.split())


# How they are written

PAGES = sorted(path.name for path in MAN.iterdir())


def lint(*argv: str) -> Any:
    """Run a tool over a page; its complaints."""
    return subprocess.run([*argv], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean(require, name):
    """The linter finds nothing wrong but pages that this machine has not got."""
    require(shutil.which("mandoc") is not None, "mandoc")
    said = lint("mandoc", "-T", "lint", str(MAN / name)).stdout.splitlines()
    ignored = ("referenced manual not found", "outdated mandoc.db")
    assert [line for line in said if not any(text in line for text in ignored)] == []


def example_of(text):
    """The first example of a page, as one would type it."""
    block = text[text.index(".Sh EXAMPLES") :].split(".Bd ")[1].split("\n", 1)[1]
    return block[: block.index("\n.Ed")].replace("\\(dq", '"').replace("\\e", "\\")


def test_the_examples_of_the_pages_work_together(tmp_path):
    """The configuration and the route that the pages show compile, as they stand there."""
    (tmp_path / "spoold.toml").write_text(example_of(page(TOML)), encoding="utf-8")
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "routes.d/10.toml").write_text(example_of(page(ROUTES)), encoding="utf-8")
    loaded = routing.load(configuration.load(tmp_path / "spoold.toml"))
    assert [route.table.name for route in loaded.routes] == ["drill"]


def test_the_pages_refer_to_each_other():
    """Every page of spoold's that a page refers to is there, and each is referred to."""
    every = "\n".join(page(name) for name in PAGES)
    references = re.findall(r"^\.Xr (spoold\S*) ([158])", every, re.MULTILINE)
    assert {f"{name}.{number}" for name, number in references} == {*PAGES}
