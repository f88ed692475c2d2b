"""MATPOWER case files: the matrices, and the statements behind them that change units.

Distribution cases (``case33bw``, ``case69``, …) hold ohms and kilowatts and end in MATLAB statements that
turn them into per unit and megawatts. Readers that skip these are wrong by factors of thousands. Here the
arithmetic on columns is executed; a statement that is anything else refuses the file, by line.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from typing import Any

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray

BUS = ["BUS_I", "BUS_TYPE", "PD", "QD", "GS", "BS", "BUS_AREA", "VM", "VA", "BASE_KV", "ZONE", "VMAX", "VMIN"]
GEN = ["GEN_BUS", "PG", "QG", "QMAX", "QMIN", "VG", "MBASE", "GEN_STATUS", "PMAX", "PMIN"]
BRANCH = ["F_BUS", "T_BUS", "BR_R", "BR_X", "BR_B", "RATE_A", "RATE_B", "RATE_C", "TAP", "SHIFT", "BR_STATUS"]
COLUMNS = {name: k for names in (BUS, GEN, BRANCH) for k, name in enumerate(names)}
WIDTH = {"bus": 13, "gen": 10, "branch": 11}
"""Columns that a case needs at least."""
FUNCTIONS = {name: getattr(np, name) for name in ("sin", "cos", "tan", "sqrt")} | {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}

_MATRIX = re.compile(r"mpc\.(\w+)\s*=\s*\[(.*?)\]\s*(?:;|$)", re.DOTALL | re.MULTILINE)
_CELL = re.compile(r"mpc\.\w+\s*=\s*\{.*?\}\s*;", re.DOTALL)
_SCALAR = re.compile(r"mpc\.(version|baseMVA)\s*=\s*'?([^;'\n]+)'?\s*;?")
_FUNCTION = re.compile(r"function\s+mpc\s*=\s*\w+[^\n]*")
_CONSTANTS = re.compile(r"(?:\[[A-Z_,\s]+\]\s*=\s*idx_\w+|define_constants)\s*;?")
_REFERENCE = re.compile(r"mpc\.(\w+)\(\s*(:|\d+)\s*,\s*(\[[^\]]*\]|\w+)\s*\)")


def read_matpower(path: str, text: str) -> tuple[Any, list[str]]:
    """The pandapower net of a MATPOWER case (version 2), buses under their own numbers, and notices.

    Raises:
        InputError: the file is no case, a matrix is missing, ragged or not numeric, or a statement is not
            understood.
    """
    from pandapower.converter.pypower import from_ppc

    code = re.sub(r"\.\.\.[^\n]*\n", " ", re.sub(r"%[^\n]*", "", text))
    if not _FUNCTION.search(code) or "mpc.bus" not in code:
        raise InputError(Fault(path, "is not a MATPOWER case: 'function mpc = …' with mpc.bus is needed"))
    case: dict[str, Any] = {}
    faults: list[Fault] = []
    for match in _MATRIX.finditer(code):
        if match[1] in WIDTH:
            case[match[1]] = _matrix(path, match[1], match[2], faults)
    base = dict(_SCALAR.findall(code)).get("baseMVA", "")
    try:
        case["baseMVA"] = float(base)
    except ValueError:
        faults.append(Fault(f"{path}: mpc.baseMVA", f"is {base!r}; the base power in MVA is needed"))
    faults += [
        Fault(f"{path}: mpc.{name}", "is missing or not closed by '];'; the file looks truncated")
        for name in WIDTH
        if name not in case
    ]
    if faults:
        raise InputError(faults)
    for pattern in (_CELL, _SCALAR, _FUNCTION, _CONSTANTS):
        code = pattern.sub(";", code)
    # matrices last: assignments to columns look like them, but have no opening bracket behind '='
    statements = [part.strip() for part in re.split(r"[;\n]", _MATRIX.sub(";", code))]
    notices = _execute(path, [part for part in statements if part and part not in ("end", "return")], case)
    branch = case["branch"]
    branch[branch[:, COLUMNS["TAP"]] == 0, COLUMNS["TAP"]] = 1.0  # MATPOWER's zero means no transformer
    if (case["bus"][:, COLUMNS["BASE_KV"]] <= 0).any():
        raise InputError(
            Fault(f"{path}: mpc.bus", "has a BASE_KV that is not positive; give the voltage in kV")
        )
    known = set(case["bus"][:, 0])
    for table, column in (("branch", "F_BUS"), ("branch", "T_BUS"), ("gen", "GEN_BUS")):
        for row in np.flatnonzero(~np.isin(case[table][:, COLUMNS[column]], list(known))):
            number = case[table][row, COLUMNS[column]]
            faults.append(
                Fault(
                    f"{path}: mpc.{table} row {row + 1}.{column}",
                    f"bus {number:g} does not exist; correct it",
                )
            )
    if faults:
        raise InputError(faults)
    return from_ppc(case, f_hz=50), notices


def _matrix(path: str, name: str, text: str, faults: list[Fault]) -> FloatArray:
    lines = (line.strip(" ,\t\r") for line in re.split(r"[;\n]", text))
    rows = [re.split(r"[,\s]+", line) for line in lines if line]
    where = f"{path}: mpc.{name}"
    widths = {len(row) for row in rows}
    if len(widths) != 1 or min(widths) < WIDTH[name]:
        faults.append(
            Fault(where, f"has rows of {sorted(widths)} values; {WIDTH[name]} or more, all alike, are needed")
        )
        return np.zeros((0, WIDTH[name]))
    values = np.array([[_number(item) for item in row] for row in rows])
    faults += [
        Fault(f"{where} row {row + 1}", f"value {column + 1} is {rows[row][column]!r}; a number is needed")
        for row, column in np.argwhere(np.isnan(values))[:5]
    ]
    # Inf means no limit
    return np.where(np.isinf(values), np.sign(values) * 1e9, values)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _execute(path: str, statements: list[str], case: dict[str, Any]) -> list[str]:
    """Run assignments to variables and matrix columns, in order; says which changed the case."""
    variables: dict[str, Any] = {"pi": math.pi}
    faults, done = [], []
    for statement in statements:
        target, equals, expression = statement.partition("=")
        reference = _REFERENCE.fullmatch(target.strip())
        try:
            if not equals:
                raise ValueError
            value = _evaluate(expression, case, variables)
            if reference:
                matrix, index = _located(reference, case)
                matrix[index] = value
                done.append(statement)
            elif re.fullmatch(r"\w+", target.strip()):
                variables[target.strip()] = value
            else:
                raise ValueError
        except (ValueError, KeyError, IndexError, SyntaxError, TypeError):
            faults.append(
                Fault(path, f"statement {statement!r} is not understood; put its result into the matrices")
            )
    if faults:
        raise InputError(faults)
    return [f"MATPOWER statement executed: {statement}" for statement in done]


def _located(reference: re.Match[str], case: dict[str, Any]) -> tuple[FloatArray, tuple[Any, Any]]:
    table, row, columns = reference.groups()
    names = columns.strip("[]").replace(",", " ").split()
    chosen = [int(name) - 1 if name.isdigit() else COLUMNS[name] for name in names]
    rows = slice(None) if row == ":" else int(row) - 1
    return case[table], (rows, chosen if columns.startswith("[") else chosen[0])


def _evaluate(expression: str, case: dict[str, Any], variables: dict[str, Any]) -> Any:
    """An arithmetic expression of numbers, variables, ``mpc.baseMVA`` and matrix columns."""
    known = dict(variables)

    def name(match: re.Match[str]) -> str:
        matrix, index = _located(match, case)
        known[f"_{len(known)}"] = matrix[index].copy()
        return f"_{len(known) - 1}"

    text = _REFERENCE.sub(name, expression).replace("mpc.baseMVA", str(case["baseMVA"]))
    for matlab, python in ((".*", "*"), ("./", "/"), (".^", "**"), ("^", "**")):
        text = text.replace(matlab, python)

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=float() | int() as number):
                return number
            case ast.Name(id=identifier):
                return known[identifier]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=operation, right=right):
                return OPERATORS[type(operation)](value(left), value(right))
            case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]):
                return FUNCTIONS[function](value(argument))
        raise ValueError(expression)

    return value(ast.parse(text.strip(), mode="eval"))
