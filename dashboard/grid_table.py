"""Tables in the common hand, on AG Grid."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
from dash import html

from dashboard.language import Language

THEME = {
    "function": "themeQuartz.withParams({fontFamily: 'inherit', fontSize: 13, headerFontSize: 12, "
    "headerFontWeight: 500, headerTextColor: '#64748b', headerBackgroundColor: '#ffffff', "
    "foregroundColor: '#1e293b', borderColor: '#eef2f6', wrapperBorder: false, columnBorder: false, "
    "headerColumnResizeHandleColor: 'transparent', selectedRowBackgroundColor: '#fef8e3', "
    "rowHoverColor: '#f8fafc', accentColor: '#2a788e', rowHeight: 34, headerHeight: 32, "
    "cellHorizontalPadding: 8, spacing: 6})"
}


def grid_table(
    name: str | dict[str, str],
    columns: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    say: Language,
    *,
    label: str,
    nothing: str = "",
    height: int | None = None,
    selected: str = "",
    options: dict[str, Any] | None = None,
) -> Any:
    """A sortable table with one selected row at most; rows are known by their ``id``. `nothing`: what an
    empty one says of itself."""
    style: dict[str, Any] = {"width": "100%"}
    if height:
        style["height"] = height
    table = dag.AgGrid(
        id=name,
        className="ag",
        columnDefs=columns,
        rowData=rows,
        getRowId="params.data.id",
        columnSize="responsiveSizeToFit",
        defaultColDef={
            "sortable": True,
            "resizable": False,
            "suppressMovable": True,
            "suppressHeaderMenuButton": True,
        },
        selectedRows={"ids": [selected]} if selected else [],
        style=style,
        eventListeners={
            "cellKeyDown": ["wattshedPress(params)"],
            "columnResized": ["wattshedFit(params)"],
        },
        dashGridOptions={
            "theme": THEME,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "domLayout": "normal" if height else "autoHeight",
            "suppressCellFocus": False,
            "suppressDragLeaveHidesColumns": True,
            "animateRows": False,
            "includeHiddenColumnsInQuickFilter": True,
            "localeText": {
                "noRowsToShow": nothing or say("table.nothing"),
                "noMatchingRows": say("table.nothing"),
                "ariaRowSelect": say("table.select"),
                "ariaRowDeselect": say("table.deselect"),
                "ariaSortableColumn": say("table.sort"),
            },
            **(options or {}),
        },
    )
    return html.Div(table, role="group", **{"aria-label": label})


def on_phone(*below: str, **changes: Any) -> dict[str, Any]:
    """What a column is instead on a narrow screen: `changes` of its definition, ``hide=True`` for one that
    goes; `below`: the fields of a row that stand under the column's value there."""
    if below:
        changes |= {
            "cellRenderer": "Stacked",
            "cellRendererParams": {"below": list(below)},
            "autoHeight": True,
            "wrapText": True,
        }
    return {"context": {"phone": changes}}


def number_column(field: str, heading: str, digits: int = 0, **more: Any) -> dict[str, Any]:
    """Right-aligned numbers, grouped, with an en dash where there is none."""
    return {
        "field": field,
        "headerName": heading,
        "type": "rightAligned",
        "valueFormatter": {"function": f"wattshedNumber(params.value, {digits})"},
        "sortingOrder": ["desc", "asc"],
        "minWidth": 76,
        **more,
    }
