"""Notices on a laptop: a line each, once, whoever writes."""

import json
import logging
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from chronos_assets.platforms.local.notices import LocalNotices
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.notices import Notice
from chronos_assets.store_layout import NOTICES_KEY


def notice(run_id="r1", outcome="failure", **facts):
    return Notice(outcome=outcome, group="g", run_id=run_id, time=datetime(2026, 1, 2, tzinfo=UTC), **facts)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


def lines(store):
    return [json.loads(line) for line in store.get(NOTICES_KEY).splitlines()]


def test_a_notice_is_one_json_line_and_a_line_in_the_log(store, caplog):
    with caplog.at_level(logging.INFO):
        sent = LocalNotices(store).send(
            notice(
                asset="forecasts", reason="first\nsecond password=hunter22", accuracy={"wql": 0.5, "mase": float("nan")}
            )
        )
    assert sent
    (line,) = lines(store)
    assert line["subject"] == "g: run FAILED in forecasts"
    assert (line["outcome"], line["dataset_group"], line["run_id"]) == ("failure", "g", "r1")
    assert line["reason"] == "first; second password***"
    assert line["accuracy"] == {"wql": 0.5, "mase": None}
    assert [(record.levelname, "FAILED" in record.message) for record in caplog.records] == [("ERROR", True)]


def test_a_run_gives_each_outcome_once(store):
    notices = LocalNotices(store)
    assert notices.send(notice())
    assert not LocalNotices(store).send(notice(reason="another try of the same tick"))
    assert notices.send(notice(outcome="success"))
    assert notices.send(notice(run_id="r2"))
    assert len(lines(store)) == 3


def test_a_line_cut_short_by_a_kill_spoils_no_other(store, caplog):
    notices = LocalNotices(store)
    notices.send(notice("r1"))
    whole = store.get(NOTICES_KEY)
    store.local_path(NOTICES_KEY).write_bytes(whole + whole[: len(whole) // 2].replace(b"r1", b"r2"))
    assert notices.send(notice("r2"))
    assert not notices.send(notice("r2"))
    assert not notices.send(notice("r1"))
    assert "line 2 is not JSON" in caplog.text
    assert json.loads(store.get(NOTICES_KEY).splitlines()[-1])["run_id"] == "r2"


def test_writers_at_the_same_time_lose_and_repeat_nothing(store):
    notices = LocalNotices(store)
    barrier = threading.Barrier(4)
    sent: list[bool] = []

    def write():
        barrier.wait()
        sent.extend(notices.send(notice(f"r{number}")) for number in range(20))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent) == 20
    assert sorted(line["run_id"] for line in lines(store)) == sorted(f"r{number}" for number in range(20))


def test_another_process_waits_for_its_turn(store, tmp_path):
    script = (
        "import sys; from datetime import datetime, UTC\n"
        "from chronos_assets.platforms.local.store import open_store\n"
        "from chronos_assets.platforms.local.notices import LocalNotices\n"
        "from chronos_assets.platforms.notices import Notice\n"
        "n = LocalNotices(open_store(sys.argv[1]))\n"
        "for i in range(20): n.send(Notice('success', 'g', f'r{i}', datetime(2026, 1, 2, tzinfo=UTC)))\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert sorted(line["run_id"] for line in lines(store)) == sorted(f"r{number}" for number in range(20))
