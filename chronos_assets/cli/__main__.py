"""`python -m chronos_assets.cli`, where the script `chronos-assets` is not on the path."""

import sys

from chronos_assets.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
