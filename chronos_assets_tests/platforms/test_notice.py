"""How a notice reads, and what it never says."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.platforms.notices import MAX_REASON, MAX_SUBJECT, Notice, document, one_line, redact, render

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_success_names_dataset_as_of_model_accuracy_and_files():
    notice = Notice(
        outcome="success",
        group="electricity",
        run_id="r1",
        time=TIME,
        job="refresh_forecasts",
        run_url="http://127.0.0.1:3000/runs/r1",
        as_of="2026-01-01",
        model="bundled@abc",
        accuracy={"wql": 0.12345678, "wql_seasonal_naive": 0.2},
        files=("/store/forecast/forecast.csv",),
    )
    subject, text = render(notice)
    assert subject == "electricity: refresh_forecasts as of 2026-01-01 succeeded"
    for fact in ("electricity", "2026-01-01", "bundled@abc", "wql 0.1235", "/store/forecast/forecast.csv", "/runs/r1"):
        assert fact in text
    assert "Reason" not in text


def test_success_without_a_partition_names_what_was_made():
    notice = Notice("success", "electricity", "r1", TIME, "refresh_forecasts", made="target_time_series")
    assert render(notice)[0] == "electricity: refresh_forecasts of target_time_series succeeded"


def test_failure_names_the_asset_the_reason_in_one_line_and_the_run():
    notice = Notice(
        outcome="failure",
        group="g",
        run_id="r2",
        time=TIME,
        run_url="http://ui/runs/r2",
        asset="target_time_series",
        reason="bad rows:\n  a.csv, line 3\r\n\x1b[31mtarget 'x'",
    )
    subject, text = render(notice)
    assert subject == "g: run FAILED in target_time_series"
    assert "Reason: bad rows: a.csv, line 3; [31mtarget 'x'" in text.splitlines()
    assert "http://ui/runs/r2" in text


def test_the_lines_of_a_reason_become_sentences():
    notice = Notice(
        outcome="failure",
        group="g",
        run_id="r",
        time=TIME,
        reason="the previous dataset stays\n\n1 bad row:\n- a.csv, line 3: no number\n- a.csv, line 9: no number\n\nFix them.",
    )
    joined = "the previous dataset stays; 1 bad row: a.csv, line 3: no number; a.csv, line 9: no number. Fix them."
    assert document(notice)["reason"] == joined
    assert f"Reason: {joined}" in render(notice)[1]


@given(
    st.builds(
        Notice,
        outcome=st.sampled_from(["success", "failure", "canceled"]),
        group=st.text(),
        run_id=st.text(max_size=50),
        time=st.just(TIME),
        asset=st.text(),
        as_of=st.text(),
        reason=st.text(max_size=2000),
    )
)
def test_no_value_can_add_a_line(notice):
    subject, text = render(notice)
    assert len(subject) <= MAX_SUBJECT
    assert len(subject.splitlines()) <= 1
    names = [line.split(":")[0] for line in text.split("\n")[2:]]
    allowed = ["Dataset group", "As of", "Asset", "Reason", "Run", "Time"]
    assert [name for name in allowed if name in names] == names


@given(st.text(max_size=3000))
def test_a_reason_is_one_printable_line_of_bounded_length(text):
    line = one_line(text)
    assert len(line) <= MAX_REASON
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


SECRET = "s3cr3t-Value/9"  # noqa: S105


@pytest.mark.parametrize(
    "text",
    [
        f"can't connect to postgresql://user:{SECRET}@host/db",
        f"password={SECRET}",
        f"'aws_secret_access_key': '{SECRET}'",
        f'{{"token": "{SECRET}"}}',
        f"AWS_SECRET_ACCESS_KEY={SECRET} AWS_REGION=x",
        f"https://bucket/x?X-Amz-Signature={SECRET}&y=1",
        f"Authorization: Bearer {SECRET}",
        f"sent header Bearer {SECRET}",
        f"api_key : {SECRET}",
    ],
)
def test_secrets_in_their_usual_shapes_are_put_out_of_sight(text):
    for shown in (redact(text), one_line(text)):
        assert SECRET not in shown
        assert "***" in shown


def test_key_ids_are_secret_too_and_ordinary_words_are_not():
    assert "AKIA" not in redact("key AKIAIOSFODNN7EXAMPLE was refused")
    assert "hf_" not in redact("hf_abcdefghijklmnopqrstuvwx")
    ordinary = "token count 512 in train/a.csv, line 3: the password column is empty; bearer of news"
    assert redact(ordinary) == ordinary
