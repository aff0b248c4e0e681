"""Draw who imports whom: the generated part of `docs/architecture.md`.

    python tools/import_graph.py            # write it
    python tools/import_graph.py --check    # exit with 1 if it is out of date

Here: reading the package's import graph (with grimp, which import-linter uses, too) and drawing it. What is allowed
is declared in `pyproject.toml`, `[tool.importlinter]`.

Imports count wherever they stand: in functions and for type checkers, too.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import grimp

PACKAGE = "chronos_assets"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- begin: import graph, written by tools/import_graph.py -->", "<!-- end: import graph -->"
# Packages whose parts are rooms of their own, since they must not know each other.
SPLIT = {"platforms": ("local", "aws")}

Edges = Mapping[str, frozenset[str]]
"""Room -> rooms that it imports."""


def room_of(module: str) -> str | None:
    """The room of a module's full name; None for the package itself.

    >>> room_of("chronos_assets.platforms.aws.store"), room_of("chronos_assets.platforms.store")
    ('platforms.aws', 'platforms')
    """
    _, *parts = module.split(".")
    if not parts:
        return None
    inner = SPLIT.get(parts[0], ())
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1] in inner else parts[0]


def read_edges() -> Edges:
    """The rooms of the package and what each imports."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    edges: dict[str, set[str]] = {}
    for module in graph.modules:
        room = room_of(module)
        if room is None:
            continue
        others = {room_of(name) for name in graph.find_modules_directly_imported_by(module)}
        edges.setdefault(room, set()).update(name for name in others if name is not None and name != room)
    return {room: frozenset(edges[room]) for room in sorted(edges)}


def reachable(edges: Edges, start: str) -> frozenset[str]:
    """Every room that `start` imports, directly or through others."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = edges.get(todo.pop(), frozenset()) - seen
        seen |= new
        todo += new
    return frozenset(seen)


def reduced(edges: Edges) -> Edges:
    """The edges that no longer path implies: few enough to be looked at. Edges within a circle all stay."""
    reach = {room: reachable(edges, room) for room in edges}
    return {
        room: frozenset(
            target
            for target in targets
            if room in reach[target]
            or not any(target in reach[other] and room not in reach[other] for other in targets - {target})
        )
        for room, targets in edges.items()
    }


def draw(edges: Edges) -> str:
    """The page's generated part: a picture, and the whole table."""
    lines = ["```mermaid", "graph TD"]
    lines += [f"  {_node(room)}" for room in edges]
    lines += [
        f"  {_identifier(room)} --> {_identifier(target)}"
        for room, targets in reduced(edges).items()
        for target in sorted(targets)
    ]
    lines += ["```", "", "| room | imports |", "|---|---|"]
    lines += [f"| `{room}` | {_list(targets)} |" for room, targets in edges.items()]
    return "\n".join(lines)


def _identifier(room: str) -> str:
    return room.replace(".", "_")


def _node(room: str) -> str:
    return f'{_identifier(room)}["{room}"]'


def _list(targets: frozenset[str]) -> str:
    return ", ".join(f"`{target}`" for target in sorted(targets)) or "nothing of the package"


def updated(page: str, drawing: str) -> str:
    """`page` with the drawing between the markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE} has no lines {BEGIN!r} and {END!r}: put them where the picture belongs")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{drawing}\n\n{END}", page)


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    before = PAGE.read_text()
    after = updated(before, draw(read_edges()))
    if "--check" in arguments:
        if before != after:
            print(f"{PAGE} is out of date: run `make docs`", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
