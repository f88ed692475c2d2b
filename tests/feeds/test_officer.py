"""The officer's files: read as they stand with their hash, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from energy.domain.errors import InputError
from energy.feeds.officer import read_officer_inputs


def test_files_are_read_with_their_hash(tmp_path: Path) -> None:
    assert read_officer_inputs(tmp_path) == read_officer_inputs(None)
    (tmp_path / "inventory.csv").write_bytes(b"\xef\xbb\xbfreference\nI.1.1\n")
    (tmp_path / "targets.toml").write_text("target = []\n", encoding="utf-8")
    found = read_officer_inputs(tmp_path)
    assert (found.inventory, found.contracts, found.targets) == ("reference\nI.1.1\n", "", {"target": []})
    assert [file.name for file in found.files] == ["inventory.csv", "targets.toml"]
    assert all(file.hash.startswith("sha256:") for file in found.files)


def test_files_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "contracts.csv").write_bytes(b"id\n\x83X\n")
    (tmp_path / "targets.toml").write_text("target = [", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_officer_inputs(tmp_path)
    text = str(refused.value)
    assert "contracts.csv: is not UTF-8 at byte 3" in text
    assert "targets.toml: is not TOML" in text
