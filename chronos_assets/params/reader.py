"""Reading of params.json, section by section: what each key means; see `chronos_assets.params`.

Here: the service's keys, and the whole file. Elsewhere: `Chronos` (`chronos_section`), what sections are read into
(`sections`), what they say together (`consistency`), checks of a single value (`document`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

from chronos_assets.calendar.frequencies import (
    DAY_NAMES,
    DEFAULT_ALIGNMENT,
    MONTH_NAMES,
    VALID_FREQUENCIES,
    Alignment,
    Frequency,
    Grid,
    Unit,
)
from chronos_assets.calendar.timestamp_format import DEFAULT_FORMAT, TimestampFormatError, parse_pattern
from chronos_assets.params.attributes import Attribute, AttributeType
from chronos_assets.params.chronos_section import read_chronos
from chronos_assets.params.consistency import (
    find_columns,
    find_dimensions,
    note_unused_columns,
    reconcile_alignment,
    reconcile_format,
    reconcile_frequencies,
)
from chronos_assets.params.covariate_sections import (
    find_covariates,
    read_additional_datasets,
    read_supplementary_features,
)
from chronos_assets.params.document import (
    MISSING,
    DocumentError,
    Findings,
    Section,
    finite_number,
    load_document,
    nearest,
    same_word,
)
from chronos_assets.params.exports import read_backtest, type_column
from chronos_assets.params.filling_sections import read_filling
from chronos_assets.params.forecast import (
    DEFAULT_QUANTILES,
    DOMAINS,
    HORIZON_LIMIT,
    METADATA,
    NAME_PATTERN,
    RELATED,
    TARGET,
    ForecastParams,
    ParamsError,
)
from chronos_assets.params.headers import LONGEST_NAME, schema_name
from chronos_assets.params.ignored_keys import (
    IGNORED_ANYWHERE,
    IGNORED_DATA_CONFIG,
    IGNORED_DATASET,
    IGNORED_FORECAST,
    IGNORED_GROUP,
    IGNORED_PREDICTOR,
    IGNORED_TOP,
)
from chronos_assets.params.predictor import METRICS, read_algorithm
from chronos_assets.params.reconciliation import check_reconcile
from chronos_assets.params.sections import BAD_NAME, KEEP_ONE, DatasetSection, DatasetSections, PredictorSection

_SERVICE_HORIZON_LIMIT = 500
_LONGEST_HORIZON_YEARS = 1000


_ATTRIBUTE_TYPES: tuple[AttributeType, ...] = get_args(AttributeType)


def read_params(document: Any, findings: Findings) -> ForecastParams | None:
    """The parameters; None, and at least one problem among the findings, when there are any."""
    top = findings.section(document, "")
    if top is None:
        return None
    findings.report_duplicates(document)
    body = _unwrap(top)
    group_name, domain = _read_group(body)
    predictor = _read_predictor(body)
    quantiles, mean = _read_types(body, predictor)
    pattern = _read_timestamp_format(top)
    datasets = _read_datasets(top, domain)
    target = datasets.target
    perform_delete = _read_delete(top, findings)
    chronos = read_chronos(top, domain, predictor)
    top.finish(IGNORED_TOP)
    if body is not top:
        body.finish({})
    # From here on, the parts are compared with each other.
    pattern = reconcile_format(pattern, target)
    columns = find_columns(domain, target, chronos, findings)
    frequencies = reconcile_frequencies(predictor, target, pattern, findings)
    alignment = reconcile_alignment(predictor, chronos, findings)
    dimensions = find_dimensions(predictor, target, columns, findings)
    aggregation, filling = read_filling(predictor, target, columns, findings)
    covariates = find_covariates(datasets, domain, columns, dimensions, predictor, chronos, findings)
    has_band = mean or len(quantiles) > 1
    check_reconcile(chronos.options.reconcile, dimensions, covariates.metadata_types, has_band, findings)
    horizon = predictor.horizon
    if None in (group_name, domain, target, columns, frequencies, horizon) or findings.problems:
        return None
    # mypy can't see through the line above.
    assert group_name and domain and target and columns and frequencies and horizon  # noqa: PT018, S101
    note_unused_columns(target, columns, dimensions, covariates.columns, findings)
    return ForecastParams(
        dataset_group=group_name,
        domain=domain,
        attributes=target.attributes,
        item_column=columns.item,
        timestamp_column=columns.timestamp,
        target_column=columns.target,
        dimensions=dimensions,
        data_frequency=frequencies[0],
        frequency=frequencies[1],
        alignment=alignment,
        horizon=horizon,
        quantiles=quantiles,
        mean=mean,
        timestamp_format=pattern,
        aggregation=aggregation,
        filling=filling,
        perform_delete=perform_delete,
        backtest=predictor.backtest,
        related=covariates.related,
        metadata=covariates.metadata,
        holidays=covariates.holidays,
        known_in_advance=covariates.known_in_advance,
        notes=tuple(findings.notes),
        **vars(chronos.options),
    )


def _read_delete(top: Section, findings: Findings) -> bool:
    """Whether the endpoint and the checkpoints go once a forecast is published; a note says what that means."""
    if not top.truth("PerformDelete"):
        return False
    findings.note(
        "PerformDelete = true stops the endpoint and deletes the tuned checkpoints once a forecast is published; "
        "forecasts, their history and the registry are kept."
    )
    return True


def _unwrap(top: Section) -> Section:
    """Where DatasetGroup, Predictor and Forecast stand: at the top, or in the template's `ForecastParameters`."""
    if not top.has("ForecastParameters"):
        return top
    wrapped = top.sections("ForecastParameters")
    if len(wrapped) != 1:
        reason = f"this must hold one set of parameters, not {len(wrapped)}"
        top.wrong("ForecastParameters", reason, "give every dataset group a store and a params.json of its own")
    for name in ("DatasetGroup", "Predictor", "Forecast"):
        if wrapped and top.has(name):
            top.wrong(name, "this stands both here and in ForecastParameters", "keep one of them")
    return wrapped[0] if wrapped else top


# --- DatasetGroup, Predictor and Forecast


def _read_group(body: Section) -> tuple[str | None, str | None]:
    """The group's name and domain."""
    group = body.section("DatasetGroup", required='write {"DatasetGroupName": ..., "Domain": ...}')
    if group is None:
        return None, None
    name = group.text("DatasetGroupName", required="name your data, for example energy")
    if name is not None and not NAME_PATTERN.fullmatch(name):
        group.wrong("DatasetGroupName", *BAD_NAME)
        name = None
    domain = group.choice("Domain", tuple(DOMAINS), required=True)
    group.finish(IGNORED_GROUP)
    return name, domain


def _read_predictor(body: Section) -> PredictorSection:
    predictor = body.section("Predictor", required='write {"ForecastHorizon": ..., "FeaturizationConfig": ...}')
    if predictor is None:
        return PredictorSection()
    horizon = predictor.integer(
        "ForecastHorizon", low=1, high=HORIZON_LIMIT, required="write the number of periods to forecast"
    )
    # CreatePredictor wraps these keys in FeaturizationConfig and DataConfig's list; CreateAutoPredictor does not.
    config = predictor.section("FeaturizationConfig")
    homes = [predictor] if config is None else [config, predictor]
    frequency = _read_frequency(homes)
    dimensions = [pair for home in homes for pair in _read_dimensions(home)]
    transformations: list[tuple[str, str, Section]] = []
    holidays: list[str] = []
    if config is not None:
        transformations += _read_featurizations(config)
        config.finish(IGNORED_ANYWHERE)
    data = predictor.section("DataConfig")
    if data is not None:
        transformations += _read_attribute_configs(data)
        holidays += read_additional_datasets(data)
        data.finish(IGNORED_DATA_CONFIG)
    inputs = predictor.section("InputDataConfig")
    if inputs is not None:
        holidays += read_supplementary_features(inputs)
        inputs.finish(IGNORED_DATA_CONFIG)
    alignment = _read_alignment(predictor, frequency)
    if horizon is not None and frequency is not None:
        _check_horizon(predictor, horizon, frequency)
    types = predictor.take("ForecastTypes")
    metric = predictor.choice("OptimizationMetric", METRICS)
    algorithm = read_algorithm(predictor)
    backtest = read_backtest(predictor, horizon)
    predictor.finish(IGNORED_PREDICTOR)
    return PredictorSection(
        frequency,
        horizon,
        tuple(dimensions),
        alignment,
        tuple(transformations),
        types,
        metric,
        algorithm,
        tuple(holidays),
        backtest,
    )


def _check_horizon(predictor: Section, horizon: int, frequency: Frequency) -> None:
    years = horizon * frequency.approximate_seconds / Frequency(1, Unit.YEAR).approximate_seconds
    if years > _LONGEST_HORIZON_YEARS:
        reason = f"{horizon} periods of {frequency} reach {years:,.0f} years ahead"
        predictor.wrong("ForecastHorizon", reason, "count it in periods of ForecastFrequency")
    elif horizon > _SERVICE_HORIZON_LIMIT:
        predictor.findings.note(
            f"Predictor.ForecastHorizon = {horizon} is beyond the service's limit of {_SERVICE_HORIZON_LIMIT}; "
            f"it is forecast all the same, with growing uncertainty."
        )


def _read_frequency(homes: list[Section]) -> Frequency | None:
    """ForecastFrequency, which may stand in either of two places, but must not contradict itself."""
    found: list[tuple[Section, Frequency | None]] = []
    for home in homes:
        if home.has("ForecastFrequency"):
            found.append((home, _frequency(home, "ForecastFrequency")))
    if not found:
        homes[0].take("ForecastFrequency", required=f"write one of {VALID_FREQUENCIES}")
        return None
    first = found[0][1]
    for home, other in found[1:]:
        if first is not None and other is not None and other != first:
            home.wrong("ForecastFrequency", f"this contradicts {homes[0].key('ForecastFrequency')}", KEEP_ONE)
    return first


def _frequency(section: Section, name: str) -> Frequency | None:
    text = section.text(name)
    if text is None:
        return None
    try:
        return Frequency.parse(text)
    except ValueError as error:
        section.wrong(name, "this is not a frequency", str(error).partition("; ")[2])
        return None


def _read_dimensions(section: Section) -> list[tuple[str, str]]:
    """ForecastDimensions as (key, name): a list of names, or one name as text, as in the pipeline's template."""
    value = section.take("ForecastDimensions")
    if value is MISSING:
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        section.wrong("ForecastDimensions", "this must be a list of column names", 'write for example ["store_id"]')
        return []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        section.wrong("ForecastDimensions", f"{', '.join(twice)} is given twice", "name every dimension once")
    return [(section.key("ForecastDimensions"), schema_name(name)) for name in dict.fromkeys(names)]


def _read_featurizations(config: Section) -> Iterator[tuple[str, str, Section]]:
    """(key, attribute, parameters) of the older spelling, `Featurizations`."""
    for featurization in config.sections("Featurizations"):
        attribute = featurization.text("AttributeName", required="name the column that is filled")
        pipeline = featurization.sections("FeaturizationPipeline", required="write a list of one method")
        if len(pipeline) > 1:
            featurization.wrong("FeaturizationPipeline", f"this has {len(pipeline)} methods", 'keep only "filling"')
        for method in pipeline[:1]:
            method.choice("FeaturizationMethodName", ("filling",), required=True)
            parameters = method.section("FeaturizationMethodParameters")
            method.finish({})
            if attribute is not None and parameters is not None:
                yield featurization.key("AttributeName"), schema_name(attribute), parameters
        featurization.finish({})


def _read_attribute_configs(data: Section) -> Iterator[tuple[str, str, Section]]:
    """(key, attribute, parameters) of the AutoPredictor spelling, `AttributeConfigs`."""
    for config in data.sections("AttributeConfigs"):
        attribute = config.text("AttributeName", required="name the column that is filled")
        parameters = config.section("Transformations", required="write the filling methods")
        config.finish({})
        if attribute is not None and parameters is not None:
            yield config.key("AttributeName"), schema_name(attribute), parameters


def _read_alignment(predictor: Section, frequency: Frequency | None) -> Alignment:
    boundary = predictor.section("TimeAlignmentBoundary")
    if boundary is None:
        return DEFAULT_ALIGNMENT
    month = boundary.choice("Month", MONTH_NAMES)
    day_of_month = boundary.integer("DayOfMonth", low=1, high=31)
    day_of_week = boundary.choice("DayOfWeek", DAY_NAMES)
    hour = boundary.integer("Hour", low=0, high=23)
    boundary.finish({})
    alignment = Alignment(
        month=MONTH_NAMES.index(month) + 1 if month else None,
        day_of_month=day_of_month,
        day_of_week=DAY_NAMES.index(day_of_week) if day_of_week else None,
        hour=hour,
    )
    if frequency is not None:
        try:
            Grid(frequency, alignment)
        except ValueError as error:
            predictor.wrong("TimeAlignmentBoundary", str(error), "remove the parts that do not apply")
    return alignment


def _read_types(body: Section, predictor: PredictorSection) -> tuple[tuple[float, ...], bool]:
    """The quantiles and whether a mean is wanted: from Forecast, else from Predictor, else the service's default."""
    findings = body.findings
    given: list[tuple[str, tuple[tuple[float, ...], bool] | None]] = []
    forecast = body.section("Forecast")
    if forecast is not None:
        for name in ("ForecastTypes", "ForecastQuantiles"):
            value = forecast.take(name)
            if value is not MISSING:
                given.append((forecast.key(name), _types(value, forecast.key(name), findings)))
        forecast.finish(IGNORED_FORECAST)
        if len(given) == 2 and given[0][1] != given[1][1]:
            forecast.wrong("ForecastQuantiles", "this contradicts Forecast.ForecastTypes", KEEP_ONE)
    if predictor.types is not MISSING:
        types = _types(predictor.types, "Predictor.ForecastTypes", findings)
        if given and given[0][1] != types:
            findings.note(f"Predictor.ForecastTypes is not used: {given[0][0]} says what to forecast.")
        given.append(("Predictor.ForecastTypes", types))
    chosen = given[0][1] if given else None
    return (DEFAULT_QUANTILES, False) if chosen is None else chosen


def _types(value: Any, key: str, findings: Findings) -> tuple[tuple[float, ...], bool] | None:
    """Forecast types such as ["0.10", "mean"]: ascending levels, and whether the mean is among them."""
    items = value if isinstance(value, list) else [value]
    if not items or isinstance(value, Mapping):
        fix = 'write quantiles from "0.01" to "0.99" and "mean", for example ["0.10", "0.50", "0.90"]'
        findings.problem(key, value, "this must be a list that is not empty", fix)
        return None
    chosen: list[float | str] = []
    good = True
    for index, item in enumerate(items):
        kind = same_word(item, ["mean"]) or _level(item)
        if kind is None:
            findings.problem(f"{key}[{index}]", item, "this is not a forecast type", _level_fix(item))
        elif kind in chosen:
            findings.problem(f"{key}[{index}]", item, "this is given twice", KEEP_ONE)
        else:
            chosen.append(kind)
            continue
        good = False
    levels = tuple(sorted(kind for kind in chosen if isinstance(kind, float)))
    return (levels, "mean" in chosen) if good else None


def _level(item: Any) -> float | None:
    """A quantile level in hundredths from 0.01 to 0.99, given as text (".5", "0.50", "p50") or a number, else None."""
    if isinstance(item, str) and (column := re.fullmatch(r"[pP]([1-9][0-9]?)", item.strip())):
        return int(column[1]) / 100  # as forecast.csv calls it
    number = finite_number(item)
    if number is None or (isinstance(item, str) and not re.fullmatch(r"0?\.[0-9]+", item.strip())):
        return None
    percent = round(number * 100)
    return percent / 100 if 1 <= percent <= 99 and abs(number * 100 - percent) < 1e-6 else None


def _level_fix(item: Any) -> str:
    """What to write instead of a bad forecast type, guessing at percentages such as 90 or "p90"."""
    match = re.fullmatch(r"[pP]?([0-9]{1,2})%?", str(item).strip())
    if match and int(match[1]) > 0:
        return f'did you mean "0.{int(match[1]):02d}"?'
    return 'write a quantile in hundredths, "0.01" to "0.99", or "mean"'


# --- Datasets


def _read_datasets(top: Section, domain: str | None) -> DatasetSections:
    """The datasets, at most one of each type."""
    findings = top.findings
    fix = f'describe the train files: [{{"DatasetType": "{TARGET}", "DataFrequency": ..., "Schema": ...}}]'
    found: dict[str | None, list[DatasetSection]] = {}
    for section in top.sections("Datasets", required=fix):
        kind = section.choice("DatasetType", (TARGET, RELATED, METADATA), required=True)
        own_domain = section.choice("Domain", tuple(DOMAINS))
        if own_domain is not None and domain is not None and own_domain != domain:
            section.wrong("Domain", f"this differs from DatasetGroup.Domain, {domain}", f'write "{domain}"')
        frequency = _read_data_frequency(section)
        pattern = _read_timestamp_format(section)
        attributes = _read_schema(section)
        section.finish(IGNORED_DATASET)
        own = type_column(attribute.name for attribute in attributes)
        if kind == TARGET and own != "type":
            findings.note(f"The files have a column type: forecast.csv calls its own {own}.")
        found.setdefault(kind, []).append(DatasetSection(section, attributes, frequency, pattern))
    for kind, what in ((TARGET, "target"), (RELATED, "related time series"), (METADATA, "item metadata")):
        for extra in found.get(kind, [])[1:]:
            extra.section.wrong("DatasetType", f"there is more than one {what}", "describe one; all its files share it")
    if TARGET not in found and None not in found and not findings.has_problem_under("Datasets"):
        findings.problem("Datasets", MISSING, f"none of them is a {TARGET}", fix)
    return DatasetSections(*(found.get(kind, [None])[0] for kind in (TARGET, RELATED, METADATA)))


def _read_data_frequency(section: Section) -> Frequency | None:
    """DataFrequency, or DatasetFrequency as the pipeline's template spells it."""
    frequency = _frequency(section, "DataFrequency")
    other = _frequency(section, "DatasetFrequency")
    if frequency is not None and other is not None and frequency != other:
        section.wrong("DatasetFrequency", "this contradicts DataFrequency", KEEP_ONE)
    return frequency or other


def _read_schema(section: Section) -> tuple[Attribute, ...]:
    """The columns of a dataset: `{"Attributes": [...]}`, or the template's `{"item_id": "string", ...}`."""
    schema = section.section("Schema", required='write {"Attributes": [...]} with the columns, in the files\' order')
    if schema is None:
        return ()
    rows: list[tuple[Section, str, str, str]] = []  # section, key of the name, key of the type, name
    if schema.has("Attributes"):
        for attribute in schema.sections("Attributes"):
            name = attribute.text("AttributeName", required="name the column")
            attribute.take("AttributeType", required=f"write one of {', '.join(_ATTRIBUTE_TYPES)}")
            attribute.finish({})
            if name is not None:
                rows.append((attribute, "AttributeName", "AttributeType", name))
        schema.finish({})
    else:
        rows = [(schema, name, name, name) for name in schema.value]
    if not rows and not section.findings.has_problem_under(schema.path):
        section.wrong("Schema", "there are no columns", "list the columns of the files, in order")
    attributes: list[Attribute] = []
    for home, name_key, type_key, given in rows:
        name = given
        kind = _attribute_type(home, type_key)
        if len(name) <= LONGEST_NAME and schema_name(name) != name:
            section.findings.note(f"The column {name!r} is called {schema_name(name)} here.")
            name = schema_name(name)
        if not NAME_PATTERN.fullmatch(name):
            home.wrong(name_key, *BAD_NAME)
        elif any(name.casefold() == other.name.casefold() for other in attributes):
            home.wrong(name_key, f"the column {name} is given twice", "name every column once")
        elif kind is not None:
            attributes.append(Attribute(name, kind))
    return tuple(attributes)


def _attribute_type(section: Section, name: str) -> AttributeType | None:
    kind = section.value.get(name, MISSING)
    if kind is MISSING:
        return None
    if kind == "geolocation":
        section.findings.note(f'{section.key(name)} = "geolocation" is read as a string: weather is not used.')
        return "string"
    if (known := same_word(kind, _ATTRIBUTE_TYPES)) is not None:
        return cast(AttributeType, known)
    fix = nearest(kind, _ATTRIBUTE_TYPES) or f"write one of {', '.join(_ATTRIBUTE_TYPES)}"
    section.wrong(name, "this is not a type of column", fix)
    return None


def _read_timestamp_format(section: Section) -> str | None:
    value = section.take("TimestampFormat")
    if value is MISSING:
        return None
    fix = f'write for example "{DEFAULT_FORMAT}" or "yyyy-MM-dd"'
    if not isinstance(value, str):
        section.wrong("TimestampFormat", "this must be text", fix)
        return None
    try:
        parse_pattern(value)
    except TimestampFormatError as error:
        section.wrong("TimestampFormat", str(error), fix)
        return None
    return value


# --- The whole


def load_params(text: str | bytes, source: str = "params.json") -> ForecastParams:
    """Parameters from the text of a JSON file (UTF-8, with or without a byte order mark).

    Raises:
        ParamsError: with every problem; for text that is not JSON, with its line and column.
    """
    try:
        document = load_document(text)
    except DocumentError as error:
        raise ParamsError([error.problem], source) from error
    return parse_params(document, source=source)


def parse_params(document: Any, *, source: str = "params.json") -> ForecastParams:
    """Parameters from the file's JSON value.

    Raises:
        ParamsError: with every problem, not only the first.
    """
    findings = Findings()
    params = read_params(document, findings)
    if params is None:
        raise ParamsError(findings.problems, source)
    return params
