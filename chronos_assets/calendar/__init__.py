"""Time as the calendar has it: frequencies, periods and the formats of timestamps. Pure arithmetic, no data."""
