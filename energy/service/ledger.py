"""The carbon ledger on documents: trace given flows, run a given tank."""

from __future__ import annotations

from typing import Any

from energy.carbon.documents import TankLedger
from energy.domain.documents import parse


def trace_document(document: Any) -> dict[str, Any]:
    """The ``wattshed.trace/1`` of a ``wattshed.flows/1``; `InputError` with every fault."""
    from energy.carbon.refused import parse_flows
    from energy.carbon.trace import trace_flows

    return trace_flows(parse_flows(document))


def tank_document(document: Any) -> dict[str, Any]:
    """The answer to a ``wattshed.tank/1``; `InputError` with every fault."""
    from energy.carbon.tank_ledger import run_tank

    return run_tank(parse(TankLedger, document))
