"""The import graph → docs/architecture.svg: the rooms of the package, floor by floor.

`python docs/picture.py` writes the picture, `--check` says whether it is the one in the tree.
The floors are the layers in pyproject.toml, which import-linter keeps. An arrow goes from a room
to each room that it needs, unless it also gets there through another room; the words on the lowest
floor are used everywhere, and have none.
"""

import ast
import sys
import tomllib
from html import escape
from pathlib import Path

import grimp

HERE = Path(__file__).resolve().parent
PICTURE = HERE / "architecture.svg"
PACKAGE = HERE.parent / "spoold"
WIDTH, HEIGHT, GAP, FLOOR = 290, 62, 22, 112


def floors() -> list[list[str]]:
    """The rooms on each floor, from the top."""
    settings = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def needs(rooms: list[str]) -> dict[str, set[str]]:
    """What each room imports, without what it also reaches through another room."""
    graph = grimp.build_graph("spoold", cache_dir=None)
    direct: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        inside = module.split(".")[1:2]
        for imported in graph.find_modules_directly_imported_by(module):
            target = imported.split(".")[1:2]
            if inside and target and inside != target and inside[0] in direct:
                direct[inside[0]].add(target[0])
    reached: dict[str, set[str]] = {}
    for room in reversed(rooms):  # from the bottom up: what a room needs is known before it
        reached[room] = direct[room].union(*(reached.get(below, ()) for below in direct[room]))
    return {
        room: {t for t in below if not any(t in reached[other] for other in below)}
        for room, below in direct.items()
    }


def sign(room: str) -> str:
    """The first line of a room's docstring, up to the colon or the comma."""
    package = PACKAGE / room / "__init__.py"
    file = package if package.exists() else PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = text.partition("\n")[0].rstrip(".")
    for mark in (":", ";", ",", " →"):
        first = first.partition(mark)[0]
    return first if len(first) < 42 else first[:40] + "…"  # noqa: PLR2004 - what fits


def size(room: str) -> str:
    """How many modules a room has, or that it is one."""
    count = len(list((PACKAGE / room).rglob("*.py")))
    return f"{room}/  {count}" if count else f"{room}.py"


def draw() -> str:
    """The picture."""
    plan = floors()
    wide = max(map(len, plan)) * (WIDTH + GAP) + GAP
    place: dict[str, tuple[float, float]] = {}
    for number, floor in enumerate(plan):
        left = (wide - len(floor) * (WIDTH + GAP) + GAP) / 2
        for column, room in enumerate(floor):
            place[room] = (left + column * (WIDTH + GAP), GAP + number * FLOOR)
    lines = []
    for room, below in needs([room for floor in plan for room in floor]).items():
        for target in sorted(below - set(plan[-1])):
            (x, y), (u, v) = place[room], place[target]
            x, u, y = x + WIDTH / 2, u + WIDTH / 2, y + HEIGHT
            bend = (v - y) / 2
            lines.append(
                f'<path d="M{x:g} {y:g}C{x:g} {y + bend:g} {u:g} {v - bend:g} {u:g} {v - 5:g}"/>'
            )
    boxes = [
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text class="n" x="{x + 12:g}" y="{y + 25:g}">{escape(size(room))}</text>'
        f'<text x="{x + 12:g}" y="{y + 47:g}">{escape(sign(room))}</text>'
        for room, (x, y) in place.items()
    ]
    high = GAP + len(plan) * FLOOR
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}">',
        "<title>Who may import whom: from each room down to the rooms it needs</title>",
        "<style>rect{fill:#fff;stroke:#445}text{font:12px sans-serif;fill:#445}",
        ".n{font:bold 15px monospace;fill:#112}path{fill:none;stroke:#78a;stroke-width:1.4;",
        "marker-end:url(#a)}</style>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" orient="auto">',
        '<path d="M0 0L8 4L0 8z" style="fill:#78a;stroke:none;marker-end:none"/></marker></defs>',
        f'<rect width="{wide:g}" height="{high:g}" style="fill:#f6f7f9;stroke:none"/>',
        *lines, *boxes, "</svg>", "",
    ])  # fmt: skip


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PICTURE.write_text(draw(), encoding="utf-8")
    elif draw() != PICTURE.read_text(encoding="utf-8"):
        sys.exit("docs/architecture.svg is not of these imports; run: python docs/picture.py")
