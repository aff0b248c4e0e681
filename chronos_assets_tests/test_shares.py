"""In which order the workers of a parallel run have the tests."""

from collections import Counter

from chronos_assets_tests.shares import in_shares

# File, kind of its tests, how many of them.
FILES = [
    ("a", "unit", 50),
    ("b", "aws", 10),
    ("c", "process", 20),
    ("d", "aws", 5),
    ("e", "browser", 10),
    ("f", "unit", 6),
]
TESTS = [(file, kind, number) for file, kind, count in FILES for number in range(count)]


def shares(workers):
    """What pytest-xdist gives to each worker at first."""
    ordered = in_shares(TESTS, workers, kind=lambda test: test[1], file=lambda test: test[0])
    assert Counter(ordered) == Counter(TESTS)
    cut = []
    for left in range(workers, 0, -1):
        length = len(ordered) // left
        cut.append(ordered[:length])
        ordered = ordered[length:]
    return cut


def test_workers_have_slow_tests_first_and_files_whole():
    first, second, third, last = shares(4)
    assert [[file for file, _, number in share if number == 0] for share in (first, second, third, last)] == [
        ["e", "d", "a"],
        ["b"],
        ["c"],
        ["f"],
    ]
    for share in (first, second, third, last):
        kinds = [kind == "unit" for _, kind, _ in share]
        assert kinds == sorted(kinds)


def test_half_of_the_workers_need_no_aws_servers():
    for workers in (2, 4, 5):
        assert sum(any(kind == "aws" for _, kind, _ in share) for share in shares(workers)) <= max(1, workers // 2)


def test_one_worker_has_all():
    (share,) = shares(1)
    assert [kind for _, kind, _ in share].index("unit") == 45
