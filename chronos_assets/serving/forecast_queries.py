"""Questions about published forecasts in the protocol of Amazon Forecast Query, so that its clients work unchanged.

```
POST /    X-Amz-Target: AmazonForecastRuntime.QueryForecast
          {"ForecastArn", "Filters": {"item_id": ...}, "StartDate", "EndDate"}
POST /    X-Amz-Target: AmazonForecastRuntime.QueryWhatIfForecast
          {"WhatIfForecastArn", ...}
```

The answer comes from the files that a run has published, never from the model, and needs none. The resource of an ARN says
from which; region and account may be anything:

```
forecast/<group>                      the current forecast
forecast/<group>/<partition>          that of a partition, of any age
what-if-forecast/<group>/<scenario>   that of a scenario
```

Here: the protocol, which file an ARN means, when it is opened. Elsewhere: the search in the file
(`timeseries.forecast.lookup`), where stores keep things (whoever makes the server says that).

What is published is answered from the next request on: each looks at which version is shown. Its files never change, and are
copied once into a `ForecastLookup`; requests that come meanwhile wait for it.

An answer is never cut, so there are no tokens: any `NextToken` is invalid. Signatures are not looked at.

https://docs.aws.amazon.com/forecast/latest/dg/API_forecastquery_QueryForecast.html
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.partition_folders import NoFolderError, at_either, escape
from chronos_assets.serving.batching import Overloaded
from chronos_assets.serving.bodies import BodyMemory, HeldBody, read_body
from chronos_assets.serving.json_requests import load_json
from chronos_assets.serving.schema import InvocationError
from chronos_assets.timeseries.forecast.lookup import ForecastLookup, UnknownSeriesError
from chronos_assets.timeseries.forecast.query import QueryError, SeriesQuestion
from chronos_assets.timeseries.forecast.what_if import PARQUET as WHAT_IF
from chronos_assets.timeseries.published_files import FORECAST

log = logging.getLogger("chronos_assets.endpoint")

AMZ_JSON = "application/x-amz-json-1.1"

MAX_BODY_BYTES = 256 * 1024  # 50 filters of the longest names and values, escaped
MAX_WAITING = 256  # requests that wait for files to be opened
KEPT_OPEN = 4  # forecasts; the current one and some that are looked at beside it

# Target -> the request's key of the ARN, its longest, and the kind of resource that it names.
_OPERATIONS = {
    "AmazonForecastRuntime.QueryForecast": ("ForecastArn", 256, "forecast"),
    "AmazonForecastRuntime.QueryWhatIfForecast": ("WhatIfForecastArn", 300, "what-if-forecast"),
}
_ARN = re.compile(r"arn:[a-z\d-]+:forecast:[^:]*:[^:]*:(?P<kind>[a-z-]+)/(?P<group>[^/]+)(?:/(?P<part>.+))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?", re.ASCII)
# What the keys of partitions and scenarios are made of; none of them leaves a folder.
_PART = re.compile(r"[A-Za-z\d][A-Za-z\d_:-]{0,127}", re.ASCII)
_FILTER_NAME = re.compile(r"[a-zA-Z0-9_-]{1,256}", re.ASCII)
_MAX_FILTERS = 50
_MAX_VALUE = 1024  # of the service 256, which a store's names may exceed
# Kind of resource -> its file, and the columns of it that are neither keys nor forecasts.
_FILES = {"forecast": (FORECAST, ()), "what-if-forecast": (WHAT_IF, ("scenario", "as_of"))}


class QueryFault(ChronosAssetsError):
    """A question that gets no forecast.

    Attributes:
        code: name of the error in the service's model.
        status: of the HTTP answer.
        message: why, and what to do.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message


def _invalid(message: str, status: int = 400) -> QueryFault:
    return QueryFault("InvalidInputException", message, status)


@dataclass(frozen=True)
class ForecastPlaces:
    """Where forecasts are published.

    Attributes:
        group: the name that ARNs have; hyphens and underscores are the same there.
        current: place of the current forecast's folder.
        partition: place of a partition's, with `{}` for its key as `partition_folders` writes it.
        scenario: place of a what-if forecast's, with `{}` for its scenario; empty where there are none.
        clock: "UTC" where forecasts' timestamps are UTC, which answers then say; empty where they are as in the train files.
    """

    group: str
    current: str
    partition: str
    scenario: str = ""
    clock: str = ""

    def __post_init__(self) -> None:
        if "{}" not in self.partition or (self.scenario and "{}" not in self.scenario):
            raise ValueError("partition and scenario are texts with {}, which stands for a name")

    def of(self, arn: str, kind: str) -> str:
        """The place that an ARN means.

        Raises:
            QueryFault: it is none of a resource of this kind, or of another group.
        """
        found = _ARN.fullmatch(arn)
        example = f"arn:aws:forecast:<region>:<account>:{kind}/{self.group}"
        example += "/<scenario>" if kind == "what-if-forecast" else ""
        if found is None or found["kind"] != kind:
            raise _invalid(f"{arn!r} is not the ARN of a {kind}: this server has {example}")
        group, part = found["group"], found["part"]
        template = self.scenario if kind == "what-if-forecast" else self.partition
        if _same_name(group) != _same_name(self.group) or (part is not None and _PART.fullmatch(part) is None):
            raise _no_forecast(arn, example)
        if part is not None and template:
            before, _, after = template.rpartition("{}")
            return f"{before}{part if kind == 'what-if-forecast' else escape(part)}{after}"
        if part is None and kind == "forecast":
            return self.current
        raise _no_forecast(arn, example)


def _same_name(group: str) -> str:
    """SageMaker wants hyphens where Amazon Forecast wanted underscores."""
    return group.replace("_", "-").rstrip("-")


def _no_forecast(arn: str, example: str = "") -> QueryFault:
    hint = f": this server has {example}" if example else ": nothing is published there (yet)"
    return QueryFault("ResourceNotFoundException", f"there is no forecast {arn!r}{hint}")


@dataclass(frozen=True)
class ForecastQuestion:
    """What a request asks.

    Attributes:
        arn: of the forecast.
        kind: of its resource.
        series: which series, and when.
    """

    arn: str
    kind: str
    series: SeriesQuestion


def parse_question(target: str, body: bytes) -> ForecastQuestion:
    """The question of a request.

    Args:
        target: the header `X-Amz-Target`.
        body: as it came.

    Raises:
        QueryFault: it is none; the message names the field.
    """
    if target not in _OPERATIONS:
        known = ", ".join(name.partition(".")[2] for name in _OPERATIONS)
        raise QueryFault("UnknownOperationException", f"the header X-Amz-Target names no operation of {known}")
    name, longest, kind = _OPERATIONS[target]
    try:
        document = load_json(body.decode("utf-8"), "")
    except UnicodeDecodeError as error:
        raise QueryFault("SerializationException", f"byte {error.start} of the body is not UTF-8") from None
    except InvocationError as error:
        raise QueryFault("SerializationException", str(error)) from None
    if not isinstance(document, dict):
        raise QueryFault("SerializationException", "the body is no JSON object")
    given = {key: value for key, value in document.items() if value is not None}
    if unknown := sorted(given.keys() - {name, "Filters", "StartDate", "EndDate", "NextToken"}):
        raise _invalid(f"{unknown[0][:100]!r} is no parameter of {target.partition('.')[2]}")
    if "NextToken" in given:
        raise QueryFault(
            "InvalidNextTokenException", "answers are never cut, so there is no next one: leave NextToken out"
        )
    filters = _filters(given.get("Filters"))
    item_id = filters.pop("item_id", None)
    if item_id is None:
        raise _invalid("Filters has no item_id: give the item's name")
    arn = _text(name, given.get(name), longest)
    start, end = _moment("StartDate", given), _moment("EndDate", given)
    try:
        return ForecastQuestion(arn, kind, SeriesQuestion(item_id, filters, start, end))
    except QueryError as error:
        raise _invalid(str(error)) from error


def _filters(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not 1 <= len(value) <= _MAX_FILTERS:
        raise _invalid(f'Filters must be an object of 1 to {_MAX_FILTERS} names and values, such as {{"item_id": "a"}}')
    for name in value:
        if _FILTER_NAME.fullmatch(name) is None:
            raise _invalid(f"Filters: {name[:100]!r} is no name of a column: letters, digits, _ and - only")
    return {name: _text(f"Filters.{name}", text, _MAX_VALUE) for name, text in value.items()}


def _text(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{name} is missing or no text")
    if len(value) > longest:
        raise _invalid(f"{name} is longer than {longest} characters")
    return value


def _moment(name: str, given: Mapping[str, Any]) -> datetime | None:
    """A date of the request, in the data's own clock, as the service has it, with or without a Z."""
    if name not in given:
        return None
    text = _text(name, given[name], 20)
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError
        return datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise _invalid(f"{name}={text!r}: write yyyy-MM-ddTHH:mm:ss, such as 2015-01-01T08:00:00") from None


_Version = tuple[str, int, int, int]


class ForecastQueries:
    """Answers questions about published forecasts.

    Args:
        places: where they are published.
        folder_at: the folder that is shown now at a place, as a path on this machine; `FileNotFoundError` without one.
        bodies: memory that bodies of requests may take.
    """

    def __init__(
        self,
        places: ForecastPlaces,
        folder_at: Callable[[str], Path] = lambda place: Path(os.path.realpath(place)),
        bodies: BodyMemory | None = None,
    ) -> None:
        self._places = places
        self._folder_at = folder_at
        self._bodies = bodies or BodyMemory()
        self._open: OrderedDict[str, tuple[_Version, asyncio.Task[ForecastLookup]]] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    async def respond(self, request: Request) -> Response:
        """The HTTP answer to a request."""
        held = HeldBody(self._bodies)
        try:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != AMZ_JSON:
                # No page of another site can send this type without asking first.
                raise _invalid(f"send the question as {AMZ_JSON}", 415)
            too_large = InvocationError("body", f"more than {MAX_BODY_BYTES} bytes: a question is one item", 413)
            body = await read_body(request, MAX_BODY_BYTES, too_large, held)
            answer = await self.answer(parse_question(request.headers.get("x-amz-target", ""), body))
            return _response(200, answer)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except QueryFault as fault:
            return _response(fault.status, {"__type": fault.code, "Message": fault.message})
        except InvocationError as error:
            return _response(error.status, {"__type": "InvalidInputException", "Message": str(error)})
        except Overloaded as error:
            return _response(400, {"__type": "LimitExceededException", "Message": str(error)})
        except ChronosAssetsError as error:  # a damaged file, a store that can't be reached
            log.error("%s", type(error).__name__)
            return _response(500, {"__type": "InternalFailure", "Message": str(error)})
        finally:
            held.release()

    async def answer(self, question: ForecastQuestion) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            QueryFault: there is none.
        """
        place = self._places.of(question.arn, question.kind)
        lookup = await self._lookup(place, question)
        try:
            return lookup.answer(question.series)
        except UnknownSeriesError as error:
            raise QueryFault("ResourceNotFoundException", str(error)) from error
        except QueryError as error:
            raise _invalid(str(error)) from error

    async def _lookup(self, place: str, question: ForecastQuestion) -> ForecastLookup:
        name, leave_out = _FILES[question.kind]
        if self._waiting >= MAX_WAITING:
            raise QueryFault("LimitExceededException", "too many requests wait: try again in 1 s")
        self._waiting += 1
        try:
            for _ in range(3):
                try:
                    version = await asyncio.to_thread(self._shown, place, name)
                except FileNotFoundError:
                    raise _no_forecast(question.arn) from None
                try:
                    return await self._opened(place, version, leave_out)
                except FileNotFoundError:
                    continue  # two newer ones were published meanwhile
            raise QueryFault("ResourceInUseException", f"{question.arn!r} is being replaced: try again")
        finally:
            self._waiting -= 1

    def _shown(self, place: str, name: str) -> _Version:
        """What tells one version of a file from another, whoever wrote it."""

        def shown(one: str) -> _Version:
            folder = self._folder_at(one)
            if not folder.is_dir():
                raise NoFolderError(str(folder))
            file = folder / name
            status = file.stat()
            return str(file), status.st_ino, status.st_mtime_ns, status.st_size

        return at_either(place, shown)

    async def _opened(self, place: str, version: _Version, leave_out: Collection[str]) -> ForecastLookup:
        held = self._open.get(place)
        if held is None or held[0] != version or (held[1].done() and held[1].exception() is not None):
            held = version, asyncio.create_task(self._read(Path(version[0]), leave_out))
            self._open[place] = held
            while len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(place)
        # Whoever asked first may go away, and others wait for the same.
        return await asyncio.shield(held[1])

    async def _read(self, file: Path, leave_out: Collection[str]) -> ForecastLookup:
        async with self._one_at_a_time:
            suffix = "Z" if self._places.clock == "UTC" else ""
            return await asyncio.to_thread(ForecastLookup, file, None, leave_out, suffix)


def _response(status: int, document: Mapping[str, Any]) -> Response:
    headers = {"x-amzn-requestid": str(uuid.uuid4())}
    if "__type" in document:
        headers["x-amzn-errortype"] = document["__type"]
    content = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type=AMZ_JSON)
