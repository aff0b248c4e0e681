"""The draft of params.json that is left where inference has to ask: complete except for what the user must choose.

Here: what the draft says, and that it can't be mistaken for an answer. A choice that is open stands as
"CHOOSE: a | b" where its answer belongs, which no reader takes; `Chronos.Draft` explains it. Finding the candidates belongs
to `keys`, `timestamp_columns` and `inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chronos_assets.params.columns import InferenceError
from chronos_assets.params.forecast import CHOOSE, DOMAINS, TARGET, ForecastParams, to_document

Attempt = Callable[[Mapping[str, str | None]], ForecastParams]

# Where the answer to a role's question stands, for people.
_PLACES = {
    "item": "Chronos.Columns.item_id (null: all rows are one series)",
    "timestamp": "Chronos.Columns.timestamp",
    "target": "Chronos.Columns.target_value and Featurizations[0].AttributeName",
    "format": "TimestampFormat",
    "frequency": "DataFrequency and ForecastFrequency",
    "decimals": "nothing, if a point separates decimals; else write the numbers without thousands separators",
    "files": "nothing, if the row of the newest file counts, as it stands; or the columns of a series",
    "repeats": "Predictor.FeaturizationConfig.ForecastDimensions, a list of columns; as it stands, such rows are added up",
}


def draft_of(error: InferenceError, attempt: Attempt, named: Mapping[str, str | None]) -> dict[str, Any] | None:
    """The draft, if the sample is clear once each open question is answered by its first candidate; else None."""
    questions: list[InferenceError] = []
    given = dict(named)
    while error.role is not None and given.get(error.role) is None:
        questions.append(error)
        given[error.role] = error.candidates[0]
        try:
            return _document(attempt(given), questions)
        except InferenceError as other:
            error = other
    return None


def _document(params: ForecastParams, questions: Sequence[InferenceError]) -> dict[str, Any]:
    document = to_document(params)
    chronos = document.setdefault("Chronos", {})
    fields = DOMAINS[params.domain]
    for question in questions:
        answer = CHOOSE + " | ".join(question.candidates)
        columns = chronos.setdefault("Columns", {}) if question.role in {"item", "timestamp", "target"} else {}
        if question.role == "item":
            columns[fields.item] = answer + " | null"
        elif question.role == "timestamp":
            columns[fields.timestamp] = answer
        elif question.role == "target":
            columns[fields.target] = answer
            target = document["Predictor"]["FeaturizationConfig"]["Featurizations"][0]  # the others come after it
            target["AttributeName"] = answer
        elif question.role == "format":
            document["TimestampFormat"] = answer
        elif question.role == "frequency":
            document["Predictor"]["FeaturizationConfig"]["ForecastFrequency"] = answer
            document["Datasets"][0]["DataFrequency"] = answer
    chronos["Draft"] = [line for question in questions for line in _explained(question)]
    chronos["Draft"] += [note for note in params.notes if not _rests_on(note, questions)]
    return document


def skeleton(error: InferenceError, columns: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """A draft of what is known without an answer: the columns (name, whether it holds numbers); the rest to be chosen."""
    names = " | ".join(name for name, _ in columns)
    fields = DOMAINS["CUSTOM"]
    return {
        "DatasetGroup": {"DatasetGroupName": "dataset", "Domain": "CUSTOM"},
        "Predictor": {
            "ForecastHorizon": f"{CHOOSE}the number of periods",
            "FeaturizationConfig": {"ForecastFrequency": f"{CHOOSE}H | D | W | M"},
        },
        "TimestampFormat": f"{CHOOSE}for example yyyy-MM-dd HH:mm:ss",
        "Datasets": [
            {
                "DatasetType": TARGET,
                "DataFrequency": f"{CHOOSE}H | D | W | M",
                "Schema": {
                    "Attributes": [
                        {"AttributeName": name, "AttributeType": "float" if numeric else "string"}
                        for name, numeric in columns
                    ]
                },
            }
        ],
        "Chronos": {
            "Columns": {
                fields.item: f"{CHOOSE}{names} | null",
                fields.timestamp: f"{CHOOSE}{names}",
                fields.target: f"{CHOOSE}{names}",
            },
            "Draft": _explained(error),
        },
    }


def with_guesses(document: dict[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """The document of inferred parameters with what was guessed, so that every later run can say it again."""
    return {**document, "Chronos": {**document.get("Chronos", {}), "Guessed": list(notes)}} if notes else document


def _explained(question: InferenceError) -> list[str]:
    lines = [str(question)]
    if question.role in _PLACES:
        lines.append(f"choose: {_PLACES[question.role]}")
    return lines + [f"{option}: {meaning}" for option, meaning in question.options.items()]


def _rests_on(note: str, questions: Sequence[InferenceError]) -> bool:
    """Whether a guess only stands because the first candidate was tried."""
    answers = {question.role: question.candidates[0] for question in questions}
    return any(
        (role == "target" and note.startswith("Guessed: ") and note.endswith("is the target."))
        or (role == "item" and note.startswith(("Guessed: each ", "Guessed: all rows")))
        or (role in {"timestamp", "format"} and "is the timestamp" in note)
        or (role == "frequency" and note.startswith("Guessed: rows come"))
        or note.startswith(("Not used", "Offered"))
        for role in answers
    )
