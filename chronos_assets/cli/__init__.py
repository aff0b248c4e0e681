"""The `chronos-assets` command: what it reads from its arguments and prints. What it does is done elsewhere.

One module per command or group of commands, joined in `app`. What several of them need is in `common`. Modules here import
only typer and what is quick to load at the top; a command imports what it does when it runs, so that `--help` is instant.
"""

from chronos_assets.cli.app import main

__all__ = ["main"]
