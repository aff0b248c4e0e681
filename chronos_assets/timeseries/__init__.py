"""Pure functions on time series: reading, frequencies, filling, quantiles, metrics. No Dagster, no cloud, no model."""
