"""The dashboard: pages for the people who read forecasts, over one read-only query module."""
