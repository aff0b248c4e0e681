"""`python -m chronos_assets_tests.forks.server`: the product's fork server, which imports what tests' programs need, too."""

import sys
from collections.abc import Iterable

from chronos_assets.platforms.local import forkserver
from chronos_assets_tests.forks import COMMAND, CONTAINER, ENDPOINT, SERVER

_WORKLOADS = tuple({module: None for modules in forkserver.PRELOADS.values() for module in modules})
_COMMANDS = (
    "chronos_assets.cli.run",
    "chronos_assets.cli.execution",
    "chronos_assets.cli.live",
    "chronos_assets.defs.run_imports",
    "chronos_assets.defs.main_job",
    "chronos_assets_tests.aws.service_models",
)
_SERVING = (
    "uvicorn",
    "chronos_assets.serving.forecast_queries",
    "chronos_assets.serving.handover",
    "chronos_assets.serving.hosting",
    "chronos_assets.serving.json_requests",
)

_CONTAINERS = (*_WORKLOADS, *_SERVING)
PRELOADED = (*_COMMANDS, *_CONTAINERS)
_OWN = {COMMAND: _COMMANDS, CONTAINER: _CONTAINERS, ENDPOINT: _CONTAINERS}


class SessionFiles(forkserver.SourceSnapshot):
    """Source files of a session, whose workers have imported them once, too: not looked at before each fork, 25 ms for all."""

    def add(self, paths: Iterable[str]) -> None:
        """Note nothing."""

    def changed(self) -> str | None:
        """None."""
        return None


class SessionServer(forkserver.ForkServer):
    """A server for all tests of a session: once it has imported, no other environment makes it start over.

    Programs of tests get theirs from `forks.start`, whatever the server's is; a job of another environment is a plain process.
    Two tests at once whose jobs differ would have everything imported again for each job, six seconds in which all others wait.
    """

    def _answer(self, request: forkserver.ForkRequest) -> dict[str, str]:
        asked = forkserver.digest(request.environment)
        if request.module in _OWN:
            kept, self._environment = self._environment, asked
            try:
                return super()._answer(request)
            finally:
                self._environment = kept
        if self._preloaded and asked != self._environment:
            return {"refused": "the session's server has imported with another environment"}
        return super()._answer(request)


if __name__ == "__main__":
    forkserver.PRELOADS = {**forkserver.PRELOADS, **_OWN}
    forkserver.ForkServer, forkserver.SourceSnapshot = SessionServer, SessionFiles  # type: ignore[misc] # of its main
    forkserver._SERVER = SERVER  # it executes itself when something has changed
    sys.exit(forkserver.main(sys.argv[1:]))
