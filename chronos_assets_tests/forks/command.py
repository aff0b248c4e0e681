"""`python -m chronos_assets_tests.forks.command`: a program of the command line, see `forks.start`."""

from chronos_assets_tests.forks.program import become

if __name__ == "__main__":
    become(lifeline=False)
