"""`python -m chronos_assets_tests.forks.endpoint`: a server of an endpoint, which is told by standard input to take over."""

from chronos_assets_tests.forks.program import become

if __name__ == "__main__":
    become(lifeline=False, stdin=True)
