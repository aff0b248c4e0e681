"""The Chronos benchmark: its tasks and data, contenders, scores, report and figure."""
