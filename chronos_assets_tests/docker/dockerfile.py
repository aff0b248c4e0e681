"""A Dockerfile as data: its stages and their instructions."""

import fnmatch
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from chronos_assets_tests.conftest import REPOSITORY

DOCKER = REPOSITORY / "docker"


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Arguments of every instruction of a kind, in order."""
        return [rest for kind, rest in self.instructions if kind == word]

    def command(self, word: str) -> list[str]:
        """The command that an ENTRYPOINT or CMD in JSON form gives."""
        (text,) = self.all(word)
        command: list[str] = json.loads(text)
        return command

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(pair.split("=", 1) for text in self.all("ENV") for pair in text.split())

    def shell(self) -> str:
        """What RUN runs, all of it."""
        return "\n".join(self.all("RUN"))


def read(name: str) -> list[Stage]:
    """The stages of `docker/<name>`; the arguments before the first are put in their places."""
    text = re.sub(r"^#.*\n", "", (DOCKER / name).read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in lines:
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages.append(Stage(re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base), stage))
        elif not stages:
            name_, _, value = rest.partition("=")
            arguments[name_] = value
        else:
            stages[-1].instructions.append((word, rest))
    return stages


def context() -> list[Path]:
    """Files and folders at the top, and in `docker/`, that `.dockerignore` lets into a build."""
    patterns = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*", "everything is left out at first"
    wanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    there = [*REPOSITORY.iterdir(), *DOCKER.iterdir()]
    return [
        path
        for path in there
        if any(fnmatch.fnmatch(path.relative_to(REPOSITORY).as_posix(), pattern) for pattern in wanted)
    ]
