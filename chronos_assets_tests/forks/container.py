"""`python -m chronos_assets_tests.forks.container`: a container of a workload, see `forks.start`; it ends with its launcher."""

from chronos_assets_tests.forks.program import become

if __name__ == "__main__":
    become(lifeline=True)
