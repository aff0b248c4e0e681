"""Lines of a file that is still being written."""

from pathlib import Path

from chronos_assets.platforms.local.messages import whole_lines


def test_a_line_is_given_once_it_is_whole_and_a_torn_last_one_never(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.touch()
    parts = ['{"a": ', "1}", '\n{"b": 2}\n{"c"', ": 3}\n", '{"torn']

    def is_over() -> bool:
        """Asked before every look at the file: something more is there at each."""
        if not parts:
            return True
        with path.open("a") as file:
            file.write(parts.pop(0))
        return False

    assert list(whole_lines(path, is_over)) == [b'{"a": 1}\n', b'{"b": 2}\n', b'{"c": 3}\n']
