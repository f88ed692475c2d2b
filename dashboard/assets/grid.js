/* Cell renderers and formatters for the tables. */
"use strict";

var dagfuncs = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
dagfuncs.wattshedNumber = function (value, digits) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = Math.abs(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (value < 0 && /[1-9]/.test(text) ? "−" : "") + text; // never "−0"
};
/* A change in per cent: its direction as a triangle. */
dagfuncs.wattshedChange = function (value, digits) {
  if (value === null || value === undefined) return "–";
  const text = dagfuncs.wattshedNumber(Math.abs(value), digits);
  const mark = !/[1-9]/.test(text) ? "" : value > 0 ? "▲ " : "▼ ";
  return mark + text + " %";
};
/* Enter does in a cell what a click does. */
dagfuncs.wattshedPress = function (params) {
  if (params.event.key === "Enter") params.event.target.click();
};

/* Columns fit their table's room: on a narrow screen they are what their `context.phone` makes of them; where
   they are still wider than the table, the first stays in view while the others scroll. */
const HEADING_WRAPS = { wrapHeaderText: true, autoHeaderHeight: true };
const fitted = new WeakMap(); // by table: its columns as the page gave them, and how they were last fitted
dagfuncs.wattshedFit = function ({ api, source }) {
  if (source !== "sizeColumnsToFit") return;
  const room = document.querySelector(`[grid-id="${api.getGridId()}"]`).clientWidth;
  const known = fitted.get(api) || { given: api.getGridOption("columnDefs"), phone: false, stays: 0 };
  const phone = window.matchMedia("(max-width: 640px)").matches;
  const columns = known.given.map((column) => ({
    hide: false, pinned: null, ...column, ...(phone ? { ...HEADING_WRAPS, ...(column.context || {}).phone } : {}),
  }));
  const shown = columns.filter((column) => !column.hide);
  const least = shown.map((column) => column.minWidth || 0);
  const fits = least.reduce((sum, width) => sum + width, 0) <= room;
  const stays = fits ? 0 : Math.min(least[0], Math.round(0.36 * room)); // pixels
  if (stays) Object.assign(shown[0], { pinned: "left", minWidth: stays, width: stays, flex: null });
  if (phone !== known.phone || stays !== known.stays) api.setGridOption("columnDefs", columns);
  fitted.set(api, { given: known.given, phone, stays });
};

var dagcomponents = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});

/* A small bar: the value as a share of `max`, in the colour the row brings. */
dagcomponents.Bar = function (props) {
  const share = Math.max(0, Math.min(1, (props.value || 0) / props.max));
  const bar = React.createElement("i", {
    style: { width: 100 * share + "%", background: props.data.fill || "#94a3b8" },
  });
  return React.createElement(
    "div",
    { className: "cell-bar", "aria-hidden": true },
    React.createElement("div", { className: "bar" }, bar),
  );
};

/* A day as a strip: one character per interval, "0" to "9" draws and "a" to "i" gives, in ninths of the
   asset's largest power. Where an asset does both, what it gives stands above what it draws. */
dagcomponents.Strip = function (props) {
  const paint = function (canvas) {
    if (!canvas) return;
    const levels = props.value || "";
    canvas.width = levels.length;
    const both = /[a-i]/.test(levels) && /[1-9]/.test(levels);
    canvas.height = both ? 2 : 1;
    const context = canvas.getContext("2d");
    for (let k = 0; k < levels.length; k++) {
      const code = levels.charCodeAt(k);
      const gives = code >= 97;
      const level = gives ? code - 96 : code - 48;
      context.fillStyle = (gives ? props.data.gives : props.data.draws) || "#94a3b8";
      context.globalAlpha = level === 0 ? 0 : 0.15 + (0.85 * level) / 9;
      context.fillRect(k, both && !gives ? 1 : 0, 1, 1);
    }
  };
  const strip = React.createElement("canvas", { className: "strip", ref: paint, "aria-hidden": true });
  return React.createElement("div", { className: "cell-bar" }, strip);
};

/* A value with more words of its row under it. */
dagcomponents.Stacked = function (props) {
  const below = props.below.map((field) => props.data[field]).filter(Boolean);
  return React.createElement(
    "span",
    { className: "stacked-words" },
    React.createElement("span", null, props.valueFormatted || props.value),
    below.length ? React.createElement("small", null, below.join(" · ")) : null,
  );
};

/* A figure of a report: its number, below it the interval and the share that is estimated. */
dagcomponents.Figure = function (props) {
  const said = props.data[props.colDef.field + "_said"];
  if (!said) return props.value === null || props.value === undefined ? "" : String(props.value);
  return React.createElement(
    "span",
    { className: "figure" },
    React.createElement("span", null, said.text),
    said.range ? React.createElement("small", null, said.range) : null,
    said.estimated ? React.createElement("small", null, said.estimated) : null,
  );
};
