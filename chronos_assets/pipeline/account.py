"""What became of the data, as labels and texts: what was left out, assumed and set aside on the way to the forecast.

Here: reading that from what is published. Elsewhere: how it is shown (the summary of `run`, the dashboard).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chronos_assets.pipeline.covariate_imports import undeclared_files
from chronos_assets.pipeline.dataset import last_observations
from chronos_assets.pipeline.file_remarks import file_remarks
from chronos_assets.pipeline.inferred import is_inferred
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.what_if import files_without_a_scenario, is_beside_current, scenario_files
from chronos_assets.planning.listing import described, kind_by_name
from chronos_assets.platforms.notices import one_line
from chronos_assets.store_layout import PARAMS_KEY, TRAIN_KEY, scenario_key
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.forecast.checks import check_freshness
from chronos_assets.wording import counted, some_of

MOST_NOTES = 20
MOST_NAMED = 5  # series without a forecast


def account_rows(state: GroupState, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All of it, for the current forecast, whose manifest is given; a row without a label goes on with the one before."""
    return [
        *skipped_rows(state, manifest),
        *cold_start_rows(manifest),
        *bound_rows(manifest),
        *import_rows(state),
        *covariate_rows(state),
    ]


def unseen_rows(state: GroupState, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Observations that the forecast of the latest window hasn't seen: those of a time to come on the clock of windows."""
    dataset = state.require_manifest()
    found = check_freshness(manifest, dataset, state.params)
    if found.passed:
        return []
    count = int(found.numbers["periods_behind"])
    text = f"{counted(count, 'period')} after it, to {dataset.last}: still to come on the clock of"
    return [("not used", f"{text} {state.clock or 'UTC'}, which Chronos.TimeZone sets")]


def skipped_rows(state: GroupState, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Series without a forecast: how many and why, and some of them with the date of their last observation."""
    if not manifest.get("skipped_count"):
        return []
    reasons = "; ".join(f"{number:,} {reason}" for reason, number in manifest["skipped_reasons"].items())
    named = [tuple(skip["item"]) for skip in manifest["skipped"][:MOST_NAMED]]
    lasts = last_observations(state, named)
    texts = [f"{series_name(key)} (last observed {lasts.get(key) or 'never'})" for key in named]
    more = manifest["skipped_count"] - len(named)
    return [("not forecast", reasons), ("", ", ".join([*texts, *([f"and {more:,} more"] if more else [])]))]


def cold_start_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Series that are forecast without a past, and items that could have been."""
    made = manifest.get("cold_start")
    if made is None:
        return []
    rows = []
    if made["series"]:
        rows.append(
            ("cold starts", f"{made['series']:,} series without a past, forecast from items with like metadata")
        )
    if (few := made.get("few_observations")) and few["series"]:
        tried = few["tried"]
        beside = (
            f"; on {tried['items']} donors left {tried['observations']} observations each: WAPE {tried['wape']:.3f}, "
            f"their mean {tried['naive_wape']:.3f}"
            if tried
            else ""
        )
        rows.append(("", f"{few['series']:,} of them at the level of their few observations{beside}"))
    if made["left_out"]:
        why = (
            "which values of the dimensions they will have is not known"
            if manifest["dimensions"]
            else "they outnumber the series that are forecast; Chronos.ColdStart in params.json takes them in"
        )
        rows.append(("no row", f"{made['left_out']:,} items of the metadata have no row, and no forecast: {why}"))
    return rows


def bound_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What keeps forecasts from being negative, where it made a difference."""
    raised = manifest.get("raised", 0)
    if not raised:
        return []
    text = f"kept at or above zero, as their history is: {raised:,} of {manifest['series']:,} series"
    return [("zero", f"{text} (Chronos.NonNegative overrides this)")]


def import_rows(state: GroupState) -> list[tuple[str, str]]:
    """What became of the rows, what was guessed, and everything else that the import has to say."""
    manifest = state.manifest
    if manifest is None:
        return []
    parts = {
        f"added to another of the same period ({state.params.aggregation})": manifest.aggregated,
        "replaced by a newer file": manifest.duplicates,
        "without a value": manifest.missing,
        "of periods that rows don't fill": manifest.unfinished,
        "far ahead of all others": manifest.ahead,
        **{f"set aside ({reason})": number for reason, number in manifest.rejected.items()},
    }
    read = sum(manifest.files.values())
    reported = [f"{number:,} {what}" for what, number in parts.items() if number]
    rows = [("rows", ", ".join([f"{read:,} read", f"{manifest.observed:,} used", *reported]))]
    if is_inferred(state.group):
        rows.append(("parameters", f"inferred, see the notes; edit {state.group.place(PARAMS_KEY)} to change them"))
    guesses = [note for note in state.params.notes if note.startswith("Guessed")]
    # The dataset's own account of its rows is the line above.
    own = (note for note in manifest.notes if " rows read, " not in note)
    ignored = described(info for info in state.group.store.list(TRAIN_KEY) if kind_by_name(info.key) is None)
    notes = list(dict.fromkeys([*guesses, *file_remarks(state), *own, *([ignored] if ignored else [])]))
    shown = notes if len(notes) <= MOST_NOTES else notes[: MOST_NOTES - 1]
    rows += [("" if number else "notes", one_line(note)) for number, note in enumerate(shown)]
    if len(notes) > len(shown):
        rows.append(("", f"… and {len(notes) - len(shown)} more, in the UI's metadata of target_time_series"))
    return rows


def scenario_rows(state: GroupState) -> list[tuple[str, str]]:
    """Where the forecast of each scenario is, which have none, and files that are no scenario."""
    rows: list[tuple[str, str]] = []
    for name in scenario_files(state.group):
        beside = is_beside_current(state.group, name)
        made = (
            state.group.place(scenario_key(name)) if beside else "not forecast beside this forecast; its run says why"
        )
        rows.append(("" if rows else "scenarios", f"{name}: {made}"))
    if others := files_without_a_scenario(state.group):
        how = "call a scenario <name>.json or <name>.csv, of letters, digits, - and _"
        rows.append(("" if rows else "scenarios", one_line(f"ignored: {some_of(others, MOST_NAMED)}; {how}")))
    return rows


def covariate_rows(state: GroupState) -> list[tuple[str, str]]:
    """The covariates that forecasts may use, and what their import noticed; nothing where there are none."""
    rows, notes = [], list(undeclared_files(state))
    related, items, calendar = state.related_manifest, state.metadata_manifest, state.params.holidays
    if related is not None:
        past = [each.name for each in related.attributes if not each.known_in_advance]
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("known in advance", [each.name for each in related.known]),
                ("known afterwards", past),
            )
            if names
        ]
        rows.append(("related", f"{related.series:,} series: {'; '.join(parts)}"))
        notes += related.notes
    if items is not None:
        rows.append(("metadata", f"{items.items:,} items: {', '.join(each.name for each in items.attributes)}"))
        notes += items.notes
    if calendar is not None:
        rows.append(("holidays", ", ".join((*calendar.countries, *(name for name, _ in calendar.days)))))
        if calendar.file is not None:
            rows[-1] = ("holidays", ", ".join(filter(None, (rows[-1][1], calendar.file))))
    return rows + [("" if number else "covariates", one_line(note)) for number, note in enumerate(notes[:MOST_NOTES])]
