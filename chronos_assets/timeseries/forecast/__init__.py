"""The files of a forecast: written, exported, queried, checked and drawn."""
