"""The officer's own inputs, as files beside ``city.toml``: inventory, contracts, targets."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energy.domain.errors import Fault, InputError, StoreError
from energy.domain.report import InputUse
from energy.feeds.documents import replacing

INVENTORY_FILE = "inventory.csv"
TARGETS_FILE = "targets.toml"
CONTRACTS_FILE = "contracts.csv"
CERTIFICATES_FILE = "certificates.csv"
OFFICER_FILES = (INVENTORY_FILE, TARGETS_FILE, CONTRACTS_FILE, CERTIFICATES_FILE)
"""They shape reports alone: a change of them makes no prepared city and no stored day out of date."""


@dataclass(frozen=True)
class OfficerInputs:
    """The officer's files as they stand; what they mean, and whether they may stand, is for the ledgers.

    Attributes:
        inventory, contracts, certificates: text of the tables, empty where there is no file.
        targets: the document, None where there is no file. files: each file read, with its hash.
    """

    inventory: str = ""
    contracts: str = ""
    certificates: str = ""
    targets: dict[str, Any] | None = None
    files: tuple[InputUse, ...] = ()


def read_officer_inputs(directory: Path | None) -> OfficerInputs:
    """What stands in the city's directory now; nothing without one. `InputError` with every fault."""
    if directory is None:
        return OfficerInputs()
    faults: list[Fault] = []
    files: list[InputUse] = []

    def read(name: str) -> str:
        path = directory / name
        if not path.exists():
            return ""
        try:
            text, version = _read(path)
        except InputError as error:
            faults.extend(error.faults)
            return ""
        files.append(InputUse(name, name, "", 0.0, version))
        return text

    inventory, contracts, certificates, targets = (
        read(name) for name in (INVENTORY_FILE, CONTRACTS_FILE, CERTIFICATES_FILE, TARGETS_FILE)
    )
    document: dict[str, Any] | None = None
    try:
        document = tomllib.loads(targets) if targets.strip() else None
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(TARGETS_FILE, f"is not TOML: {error}"))
    if faults:
        raise InputError(faults)
    return OfficerInputs(inventory, contracts, certificates, document, tuple(files))


def read_inventory(directory: Path | None) -> tuple[str, str]:
    """Text of the officer's table of entries and its hash, both empty where there is none; `InputError` where
    it cannot be read."""
    if directory is None or not (directory / INVENTORY_FILE).exists():
        return "", ""
    return _read(directory / INVENTORY_FILE)


def write_inventory(directory: Path, text: str) -> None:
    """Put `text` in place of the officer's table of entries, whole or not at all; `StoreError` where that
    fails."""
    try:
        with replacing(directory / INVENTORY_FILE) as temporary:
            temporary.write_bytes(text.encode())
    except OSError as error:
        raise StoreError(f"{INVENTORY_FILE} cannot be written: {error.strerror}") from None


def _read(path: Path) -> tuple[str, str]:
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig"), f"sha256:{hashlib.sha256(data).hexdigest()}"
    except UnicodeDecodeError as error:
        raise InputError(Fault(path.name, f"is not UTF-8 at byte {error.start}; save it as UTF-8")) from None
    except OSError as error:
        raise InputError(Fault(path.name, f"cannot be read: {error.strerror}")) from None
