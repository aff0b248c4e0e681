"""The checkup on this machine: a store that can't be written, a full disk, a port that is taken."""

import shutil
import socket
from types import SimpleNamespace

from chronos_assets.platforms.checkup import any_failed, render
from chronos_assets.platforms.local.doctor import examine
from chronos_assets.settings import Settings
from chronos_assets_tests.ports import free_port


def found(tmp_path, port):
    findings = examine(Settings(store=str(tmp_path / "store")), port=port)
    return {finding.name: finding for finding in findings}, render(findings)


def test_a_machine_that_is_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=50 << 30))
    before, _ = found(tmp_path, free_port())
    (tmp_path / "store").mkdir()
    after, text = found(tmp_path, free_port())
    assert {finding.status for finding in (*before.values(), *after.values())} == {"ok"}
    assert "torch" in after["packages"].what
    assert text.endswith("\nno problems found")
    assert list((tmp_path / "store").iterdir()) == []


def test_what_is_in_the_way_is_reported_with_its_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1 << 20))
    (tmp_path / "store").write_text("a file")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        findings, text = found(tmp_path, taken.getsockname()[1])
    statuses = {name: finding.status for name, finding in findings.items()}
    assert statuses == {"store": "failed", "disk": "failed", "packages": "ok", "UI port": "warning"}
    assert any_failed(findings.values())
    assert "-> set CHRONOS_STORE to one, or move the file away" in text
    assert text.endswith("\n2 failed, 1 warning")


def test_the_folder_that_lacks_rights_is_the_one_to_ask_them_for(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda _path, _mode: False)  # root may write anywhere
    store = found(tmp_path, 1)[0]["store"]
    assert store.what == f"{tmp_path / 'store'} isn't there, and {tmp_path} can't be written to"
    assert store.fix.startswith(f"give yourself the rights to write to {tmp_path}, or")
