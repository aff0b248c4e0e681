"""The names of partitions' folders, and the keys and scenarios that are read off them."""

import pytest

from chronos_assets.partition_folders import partition_of
from chronos_assets.platforms.local.store import open_store
from chronos_assets.store_layout import (
    accuracy_key,
    anomalies_key,
    explanations_key,
    history_key,
    levels_key,
    members_key,
    scenario_key,
    scenario_of,
)


@pytest.mark.parametrize(
    "key_of", [accuracy_key, anomalies_key, explanations_key, history_key, levels_key, members_key]
)
@pytest.mark.parametrize("key", ["2025-06-20", "2025-06-20-13:00"])
def test_the_key_of_a_partition_is_read_off_its_folder(tmp_path, key_of, key):
    folder = key_of(key)
    store = open_store(tmp_path)
    store.put(f"{folder}/manifest.json", b"{}")
    above = folder.rpartition("/")[0]
    assert [partition_of(name) for name, _, _ in store.manifests(above)] == [key]


def test_the_name_of_a_scenario_is_read_off_its_folder():
    assert scenario_of(scenario_key("price=+10").rpartition("/")[2]) == "price=+10"


def test_other_folders_are_no_scenarios():
    assert [scenario_of(name) for name in ("as_of=2025-06-20", "notes", "scenario")] == [None] * 3
