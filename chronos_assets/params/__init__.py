"""params.json: the parameter file of the Amazon Forecast pipeline, read into one typed, frozen value.

Here belong the file's keys, their values and everything that can be wrong with them; all problems are reported at once,
each with the key, the value, the reason and the mend. Reading data, environment variables and Dagster do not belong
here. The keys follow the service's API (CreateDatasetGroup, CreateDataset, CreateDatasetImportJob, CreatePredictor,
CreateAutoPredictor and CreateForecast in the Amazon Forecast developer guide). Keys that steered the service itself
(AutoML, algorithms, roles, encryption, tags) are accepted and reported in `ForecastParams.notes`; unknown keys are
errors. What the service had no word for lives under one extra top-level key, `Chronos`:

=================  ====================================================================================================
Chronos key        meaning
=================  ====================================================================================================
Columns            field of the domain -> column of the schema, where a file has its own names
                   ({"item_id": "Model_ID"}); "item_id": null says that the files hold one series and no item column
BadRows            "fail" (default): a bad row fails the import; "quarantine": it is set aside and the import goes on
TimeZone           IANA name; timestamps with an offset become clock times of this zone (default UTC)
ContextLength      most recent periods that a forecast sees (default: the model's own)
BatchSize          series per forward pass (default: chosen by the job)
Seed               seed of everything random (default 0)
MinObservations    series with fewer observed values are not forecast, and named (default 1)
MaxDataAge         seconds after which the last observation is stale (default: not checked)
Training           when and how a model is trained on the data, see `chronos_assets.params.training`
=================  ====================================================================================================
"""
