"""What the doctor finds in the files that were dropped, in params.json, and in what was imported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chronos_assets.pipeline.checkup import examine, examine_model
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.checkup import Finding
from chronos_assets.settings import Settings
from chronos_assets.store_layout import DATASET_KEY, METADATA_KEY, RELATED_KEY
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets_tests.defs.line import PARAMS
from chronos_assets_tests.timeseries.builders import (
    MadeRelated,
    MadeSeries,
    make_metadata,
    make_params,
    make_related,
    write_dataset,
)

KEYS = {"item_id": "string"}
RELATED = {"DatasetType": "RELATED_TIME_SERIES", "Schema": {**KEYS, "timestamp": "timestamp", "price": "float"}}
METADATA = {"DatasetType": "ITEM_METADATA", "Schema": {**KEYS, "brand": "string"}}


def declared(*datasets: dict[str, Any], **chronos: Any) -> bytes:
    document = {**PARAMS, "Datasets": [*PARAMS["Datasets"], *datasets], "Chronos": chronos}  # type: ignore[misc]
    return json.dumps(document).encode()


def group(tmp_path: Path) -> Group:
    made = Group(Settings(store=str(tmp_path / "store")))
    made.store.put("train/demand.csv", b"timestamp,target_value,item_id\n")
    return made


def said(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.name, finding.status, finding.what) for finding in findings]


def test_files_that_nothing_declares_or_that_explain_nothing_are_named(tmp_path: Path) -> None:
    shop = group(tmp_path)
    assert examine(shop) == []
    shop.store.put("related/price.csv", b"item_id,timestamp,price\n")
    # Looking infers nothing.
    assert examine(shop) == []
    assert not shop.store.exists("params.json")
    shop.store.put("params.draft.json", b"{}")
    assert said(examine(shop)) == [("params.json", "failed", "the train files leave a choice to you")]
    shop.store.put("params.json", declared())
    ((name, status, what),) = said(examine(shop))
    assert (name, status) == ("covariates", "warning")
    assert what.startswith("1 file of related time series (related/price.csv) not used")
    shop.store.delete("train/demand.csv")
    assert ("related time series", "failed") in {found[:2] for found in said(examine(shop))}
    shop.store.put("params.json", declared(Holidays={"Countries": ["XX"]}))
    (problem,) = [found for found in said(examine(shop)) if found[0] == "params.json"]
    assert problem[1] == "failed"
    assert "Chronos.Holidays.Countries" in problem[2]


def test_a_base_model_that_is_no_model_is_named_and_one_of_the_hub_not_looked_for(tmp_path: Path) -> None:
    assert examine_model(Settings()) == examine_model(Settings(base_model="amazon/chronos-bolt-small")) == []
    (tmp_path / "config.json").write_text("{}")
    for reference, why in (
        ("nope", "there is no such folder"),
        (str(tmp_path), "holds no weights"),
    ):
        ((name, status, what),) = said(examine_model(Settings(base_model=reference)))
        assert (name, status) == ("base model", "failed")
        assert why in what


def test_what_ends_early_or_covers_too_few_is_counted(tmp_path: Path) -> None:
    shop = group(tmp_path)
    shop.store.put("params.json", declared(RELATED, METADATA, Reconcile={"Levels": ["brand"]}))
    shop.store.put("related/price.csv", b"item_id,timestamp,price\n")
    shop.store.put("item_metadata/items.csv", b"item_id,brand\n")
    params, staged = make_params(horizon=24), tmp_path / "staged"
    write_dataset(staged, params, [MadeSeries((name,), "2024-01-01", np.arange(30.0)) for name in "abc"], shards=1)
    shop.store.publish(DATASET_KEY, staged)
    made = make_related(
        staged, shop.store.snapshot(DATASET_KEY), [MadeRelated(("a",), "2024-01-01", {"price": [1.0] * 30})]
    )
    text = replace(made, uncovered=2, items_without_future={"price": 1}).to_json()
    (staged / DATASET_MANIFEST).write_text(text)
    shop.store.publish(RELATED_KEY, staged)
    items = make_metadata(staged, {"a": {"brand": "x"}, "d": {"brand": "y"}})
    (staged / DATASET_MANIFEST).write_text(replace(items, uncovered=2, newcomers=1).to_json())
    shop.store.publish(METADATA_KEY, staged)
    assert said(examine(shop)) == [
        ("related time series", "warning", "2 of 3 series have no related values"),
        ("related time series", "warning", "price is known in advance, but ends before the horizon for 1 of 3 series"),
        ("item metadata", "warning", "2 of 3 items of the dataset have no metadata"),
        (
            "sums",
            "failed",
            "Chronos.Reconcile: items b, c have no brand, so that the sums would lack them: add brand to the item metadata, "
            "or take the level out of params.json",
        ),
    ]
    shop.store.put("params.json", declared(RELATED, METADATA))
    shop.store.withdraw(RELATED_KEY)
    assert [found[0] for found in said(examine(shop))] == ["item metadata"]
