"""params.json: the parameter file of the Amazon Forecast pipelines, read into one typed, frozen value.

Here belong the file's keys, their values and everything that can be wrong with them; all problems are reported at once,
each with the key, the value, the reason and how to fix it. Reading data, environment variables and Dagster do not belong
here.

The keys follow the service's API (CreateDatasetGroup, CreateDataset, CreateDatasetImportJob, CreatePredictor,
CreateAutoPredictor and CreateForecast in the Amazon Forecast developer guide). Keys that steered the service itself
(AutoML, algorithms, roles, encryption, tags) are accepted and reported in `ForecastParams.notes`; unknown keys are
errors. What the service had no word for lives under one extra top-level key, `Chronos`. `docs/params.md` describes every
key; a test holds it against the reader.
"""
