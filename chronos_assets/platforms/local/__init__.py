"""The laptop: files, subprocesses, DuckDB, a log."""
