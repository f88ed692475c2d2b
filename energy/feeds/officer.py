"""The officer's own inputs, as files beside ``city.toml``: inventory, contracts, targets."""

from __future__ import annotations

import hashlib
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
            data = path.read_bytes()
            files.append(InputUse(name, name, "", 0.0, f"sha256:{hashlib.sha256(data).hexdigest()}"))
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            faults.append(Fault(name, f"is not UTF-8 at byte {error.start}; save it as UTF-8"))
        except OSError as error:
            faults.append(Fault(name, f"cannot be read: {error.strerror}"))
        return ""

    inventory, contracts, certificates, targets = (
        read(name) for name in (INVENTORY_FILE, CONTRACTS_FILE, CERTIFICATES_FILE, TARGETS_FILE)
    )
    document: dict[str, Any] | None = None
    try:
        document = tomllib.loads(targets) if targets.strip() else None
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(TARGETS_FILE, f"is no TOML: {error}"))
    if faults:
        raise InputError(faults)
    return OfficerInputs(inventory, contracts, certificates, document, tuple(files))
