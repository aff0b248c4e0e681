"""`python -m chronos_assets_tests.forks.server`: the product's fork server, which imports what tests' programs need, too."""

import sys

from chronos_assets.platforms.local import forkserver
from chronos_assets_tests.forks import COMMAND, CONTAINER, ENDPOINT, SERVER

_WORKLOADS = tuple({module: None for modules in forkserver.PRELOADS.values() for module in modules})
_COMMANDS = (
    "chronos_assets.cli.run",
    "chronos_assets.cli.execution",
    "chronos_assets.cli.live",
    "chronos_assets.defs.run_imports",
    "chronos_assets.defs.main_job",
)
_SERVING = (
    "uvicorn",
    "chronos_assets.serving.forecast_queries",
    "chronos_assets.serving.handover",
    "chronos_assets.serving.hosting",
    "chronos_assets.serving.json_requests",
)

_CONTAINERS = (*_WORKLOADS, *_SERVING)

if __name__ == "__main__":
    own = {COMMAND: _COMMANDS, CONTAINER: _CONTAINERS, ENDPOINT: _CONTAINERS}
    forkserver.PRELOADS = {**forkserver.PRELOADS, **own}
    forkserver._SERVER = SERVER  # it executes itself when something has changed
    sys.exit(forkserver.main(sys.argv[1:]))
