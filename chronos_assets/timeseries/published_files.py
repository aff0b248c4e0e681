"""The names of the files in published folders that others than their writer look for.

Elsewhere: what stands in them (`dataset.shards` and `dataset.related`, `forecast.files`, `scoring.metrics_file`), which folders
are published (`platforms.store`).
"""

# What a folder holds.
MANIFEST = "manifest.json"
# Of the dataset and of covariates: hidden from engines that read every file of a folder as a table.
DATASET_MANIFEST = "_manifest.json"
# Of forecasts.
FORECAST = "forecast.parquet"
LAST_OBSERVED = "last_observed.parquet"
SKIPPED = "skipped.parquet"
COLD_STARTS = "cold_starts.parquet"
# Of accuracy.
METRICS = "metrics.parquet"
