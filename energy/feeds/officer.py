"""The officer's own inputs, as files beside ``city.toml``: entries of the inventory, and targets."""

from __future__ import annotations

import csv
import hashlib
import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energy.domain.errors import Fault, InputError
from energy.domain.report import InputUse

INVENTORY_FILE = "inventory.csv"
TARGETS_FILE = "targets.toml"
CONTRACTS_FILE = "contracts.csv"
CERTIFICATES_FILE = "certificates.csv"


@dataclass(frozen=True)
class OfficerInputs:
    """Raw rows of the officer's files; what they mean, and whether they may stand, is for the ledgers.

    Attributes:
        inventory, contracts, certificates: rows of the tables by column, empty cells left out.
        targets: the document, None where there is no file. files: each file read, with its hash.
    """

    inventory: tuple[dict[str, str], ...] = ()
    contracts: tuple[dict[str, str], ...] = ()
    certificates: tuple[dict[str, str], ...] = ()
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
            data = path.read_bytes()
            files.append(InputUse(name, name, "", 0.0, f"sha256:{hashlib.sha256(data).hexdigest()}"))
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            faults.append(Fault(name, f"is not UTF-8 at byte {error.start}; save it as UTF-8"))
        except OSError as error:
            faults.append(Fault(name, f"cannot be read: {error.strerror}"))
        return ""

    def table(name: str) -> tuple[dict[str, str], ...]:
        rows: list[dict[str, str]] = []
        reader = csv.DictReader(io.StringIO(read(name)), strict=True)
        try:
            for number, row in enumerate(reader, 2):
                if None in row or None in row.values():
                    faults.append(
                        Fault(f"{name} line {number}", f"has not {len(reader.fieldnames or ())} cells")
                    )
                rows.append({str(key): value.strip() for key, value in row.items() if key and value})
        except csv.Error as error:
            faults.append(Fault(name, f"is no CSV: {error}"))
        return tuple(rows)

    def document(name: str) -> dict[str, Any] | None:
        text = read(name)
        try:
            return tomllib.loads(text) if text.strip() else None
        except tomllib.TOMLDecodeError as error:
            faults.append(Fault(name, f"is no TOML: {error}"))
            return None

    found = OfficerInputs(
        table(INVENTORY_FILE),
        table(CONTRACTS_FILE),
        table(CERTIFICATES_FILE),
        document(TARGETS_FILE),
    )
    if faults:
        raise InputError(faults)
    return OfficerInputs(found.inventory, found.contracts, found.certificates, found.targets, tuple(files))
