"""The files that say what a folder holds.

Elsewhere: what stands in them (`dataset.shards` and `dataset.related`, `forecast.files`), which folders are published
(`platforms.store`).
"""

MANIFEST = "manifest.json"
# Of the dataset and of covariates: hidden from engines that read every file of a folder as a table.
DATASET_MANIFEST = "_manifest.json"
