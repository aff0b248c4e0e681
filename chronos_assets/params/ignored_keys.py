"""Keys of the service that are accepted without effect, each with the reason that the user is given."""

from __future__ import annotations

_SERVICE_ONLY = "it steered the service and has no effect here"
_GOVERNS_AWS = "access, encryption and tags are those of the place where this project runs"
_MODEL = "forecasts are made by the members that Chronos.Predictor says, around the model that CHRONOS_BASE_MODEL names"
_NAME_ONLY = "nothing here is named by it"
_NO_WEATHER = "the service's weather is not available; supply weather as related time series"

# Keys with a meaning for the service only, and why they have none here.
IGNORED_ANYWHERE = {
    "Tags": _GOVERNS_AWS,
    "EncryptionConfig": _GOVERNS_AWS,
    "RoleArn": _GOVERNS_AWS,
    "KMSKeyArn": _GOVERNS_AWS,
}
IGNORED_TOP = {
    **IGNORED_ANYWHERE,
    "DataSource": "files are read from train/ in the store",
    "DatasetImportJobName": _SERVICE_ONLY,
    "ImportMode": "files in train/ are always imported together, and the newer one wins",
    "Format": "CSV and Parquet are distinguished by the file's name",
    "TimeZone": "set Chronos.TimeZone to convert timestamps that carry an offset",
    "UseGeolocationForTimeZone": _NO_WEATHER,
    "GeolocationFormat": _NO_WEATHER,
}
IGNORED_GROUP = {**IGNORED_ANYWHERE, "DatasetGroupArn": _SERVICE_ONLY, "DatasetArns": _SERVICE_ONLY}
IGNORED_DATA_CONFIG = {
    "DatasetGroupArn": _SERVICE_ONLY,
}
IGNORED_PREDICTOR = {
    **IGNORED_ANYWHERE,
    "PredictorName": _NAME_ONLY,
    "PerformAutoML": _MODEL,
    "AutoMLOverrideStrategy": _MODEL,
    "PerformHPO": _MODEL,
    "HPOConfig": _MODEL,
    "TrainingParameters": _MODEL,
    "ExplainPredictor": "materialize a partition of forecast_explanations to explain the forecast of that partition",
    "MonitorConfig": "accuracy of every partition is monitored always",
    "ReferencePredictorArn": _SERVICE_ONLY,
    "DatasetGroupArn": _SERVICE_ONLY,
    "PredictorArn": _SERVICE_ONLY,
}
IGNORED_FORECAST = {
    **IGNORED_ANYWHERE,
    "ForecastName": _NAME_ONLY,
    "ForecastArn": _SERVICE_ONLY,
    "PredictorArn": _SERVICE_ONLY,
    "DatasetGroupArn": _SERVICE_ONLY,
    "TimeSeriesSelector": "every series of the dataset is forecast",
}
IGNORED_DATASET = {
    **IGNORED_ANYWHERE,
    "DatasetName": _NAME_ONLY,
    "DatasetArn": _SERVICE_ONLY,
    "DatasetImportJobName": _SERVICE_ONLY,
    "DataSource": "files are read from train/ in the store",
}
