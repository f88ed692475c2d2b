/* What happens in the browser alone: the clock of the day, the maps' colours, the choice in the address. */
"use strict";

/* The Japanese names the date picker needs. */
window.dayjs_locale_ja = {
  name: "ja",
  weekdays: "日曜日_月曜日_火曜日_水曜日_木曜日_金曜日_土曜日".split("_"),
  weekdaysShort: "日_月_火_水_木_金_土".split("_"),
  weekdaysMin: "日_月_火_水_木_金_土".split("_"),
  months: "1月_2月_3月_4月_5月_6月_7月_8月_9月_10月_11月_12月".split("_"),
  monthsShort: "1月_2月_3月_4月_5月_6月_7月_8月_9月_10月_11月_12月".split("_"),
  ordinal: (n) => n + "日",
  formats: { LT: "HH:mm", LTS: "HH:mm:ss", L: "YYYY/MM/DD", LL: "YYYY年M月D日", LLL: "YYYY年M月D日 HH:mm", LLLL: "YYYY年M月D日 dddd HH:mm" },
  relativeTime: {},
};

(function () {
  const AMBER_FROM = 0.9; // share of the limit
  const PALE = "#e8edf3", INK = "#0f172a", SLATE = "#64748b", UNKNOWN = "#cbd5e1";
  const CRIMSON = "#e11d48", AMBER = "#f59e0b", CALM = "#2a788e";
  const dash = () => window.dash_clientside;
  const keep = () => dash().no_update;
  const triggered = () => (dash().callback_context.triggered_id || "");

  /* --- the clock ------------------------------------------------------------------------------- */

  function play(clicks, stopped) {
    if (!clicks) return [keep(), keep()];
    return [!stopped, String(stopped)];
  }

  function tick(ticks, step, last) {
    if (!ticks) return keep();
    return step >= last ? 0 : step + 1;
  }

  function clock(step, labels) {
    return labels[step];
  }

  function timeLine(step, figure) {
    if (!figure || !figure.layout || !(figure.layout.shapes || []).length) return keep();
    const [line, ...others] = figure.layout.shapes;
    if (line.x0 === step) return keep();
    return { ...figure, layout: { ...figure.layout, shapes: [{ ...line, x0: step, x1: step }, ...others] } };
  }

  /* --- the address ----------------------------------------------------------------------------- */

  const PARAMETER = { time: "t", district: "district", layer: "layer", case: "case", asset: "asset", element: "element", report: "report", year: "year" };

  /* Gather a page's controls by the last word of their ids: {"city-layer": …} is the layer. */
  function choice(...values) {
    const inputs = dash().callback_context.inputs_list;
    return Object.fromEntries(inputs.map((input, k) => [input.id.split("-").pop(), values[k]]));
  }

  function address(choices, labels, links) {
    const query = new URLSearchParams(window.location.search);
    for (const [control, value] of Object.entries(choices[0] || {})) {
      const text = control === "time" ? labels[value] : value;
      if (text) query.set(PARAMETER[control], text);
      else query.delete(PARAMETER[control]);
    }
    const search = query.toString() ? "?" + query.toString() : "";
    if (search !== window.location.search) {
      window.history.replaceState(window.history.state, "", window.location.pathname + search);
    }
    query.delete("job");
    const kept = query.toString() ? "?" + query.toString() : "";
    return links.map((link) => link.page + kept);
  }

  /* Another day, city, language or information: a new page from the server. */
  function go(city, day, info, lang, seen) {
    if (city && city !== seen.city) return "?" + new URLSearchParams({ city, lang });
    const wanted = Object.entries({ day, info, lang }).filter(([name, value]) => value && value !== seen[name]);
    if (!wanted.length) return keep(); // the controls were only put on the page
    const query = new URLSearchParams(window.location.search);
    for (const [name, value] of wanted) query.set(name, value);
    query.delete("job");
    return "?" + query.toString();
  }

  function heading(title) {
    document.title = title.title;
    document.documentElement.lang = title.lang;
    return keep();
  }

  /* --- choosing a district --------------------------------------------------------------------- */

  /* Which district a click names, and which row a list has; a second click on the map takes it back. */
  function chosen(source, list, whole, click, rows, district) {
    if (source === whole) return "";
    if (source === list) return Array.isArray(rows) && rows.length ? rows[0].id : district;
    const clicked = districtOf(click);
    return clicked === null ? district : clicked === district ? "" : clicked;
  }

  function chooseDistrict(click, rows, _whole, district) {
    const source = triggered();
    const next = chosen(source, "districts", "city-whole", click, rows, district);
    return [next === district ? keep() : next, rowsOf(next, source === "districts"), null];
  }

  function chooseCarbonDistrict(flow, series, rows, _whole, district) {
    const source = triggered();
    const click = source === "sankey" ? flow : series;
    const next = chosen(source, "carbon-districts", "carbon-whole", click, rows, district);
    return [next === district ? keep() : next, rowsOf(next, source === "carbon-districts"), null, null];
  }

  /* What the list is told to select; nothing where the list itself said so. */
  function rowsOf(district, fromList) {
    if (fromList) return keep();
    return district ? { ids: [district] } : [];
  }

  /* The district under a click: of a polygon, a name on the map, a line of a chart, a node or a link. */
  function districtOf(click) {
    const point = click && click.points && click.points[0];
    if (!point) return null;
    if (typeof point.customdata === "string") return point.customdata;
    if (point.target && typeof point.target.customdata === "string") return point.target.customdata;
    const map = document.querySelector("#city-map .js-plotly-plot");
    const trace = map && map.data[point.curveNumber];
    return trace && trace.meta && trace.meta.district ? trace.meta.district : null;
  }

  /* --- maps ------------------------------------------------------------------------------------ */

  function stressOfVoltage(value, limits) {
    if (value === null) return null;
    return value < 1 ? (1 - value) / (1 - limits.vm_min_pu) : (value - 1) / (limits.vm_max_pu - 1);
  }

  function level(stress) {
    if (stress === null || stress === undefined) return "idle";
    if (stress > 1.001) return "crimson";
    if (stress > AMBER_FROM) return "amber";
    return stress > 0.5 ? "busy" : "idle";
  }

  const number = (value, digits) => window.dashAgGridFunctions.wattshedNumber(value, digits);

  /* The worst value per district: loading in per cent, or the voltage farthest from 1 pu. */
  function worst(districts, owners, values, stress) {
    const found = new Map();
    owners.forEach((owner, k) => {
      if (values[k] === null || owner === null) return;
      const known = found.get(owner);
      if (known === undefined || stress(values[k]) > stress(known)) found.set(owner, values[k]);
    });
    return districts.map((district) => (found.has(district) ? found.get(district) : null));
  }

  /* Names stay readable where lines cross them. */
  function halo(ink) {
    const ground = ink === "#ffffff" ? "rgba(15,23,42,.75)" : "rgba(255,255,255,.85)";
    return "0 0 2px " + ground + ", 0 0 3px " + ground + ", 0 0 5px " + ground;
  }

  /* In font sizes, how far a name may stand from its district's middle. */
  const SHIFTS = [[0, 0], [0, 1.3], [0, -1.3], [1.8, 0], [-1.8, 0], [1.8, 1.3], [-1.8, 1.3], [1.8, -1.3], [-1.8, -1.3]];

  /* Where each name is free of the others: [x, y] on the map, or null where there is no room. */
  function places(labels, scene, names, size) {
    const box = document.querySelector(".map").getBoundingClientRect();
    const [[west, south], [east, north]] = scene.extent;
    const scale = Math.min(box.width / (east - west), box.height / (north - south)); // pixels per unit
    const taken = [];
    const free = ([x, y, wide, high]) =>
      taken.every(([x1, y1, wide1, high1]) => Math.abs(x - x1) > wide + wide1 || Math.abs(y - y1) > high + high1);
    return names.map((name, k) => {
      const wide = name.length * size * 0.27 + 2, high = size * 1.3; // half of the box, in pixels
      const at = ([dx, dy]) => [labels.x[k] * scale + dx * size, labels.y[k] * scale + dy * size, wide, high];
      const found = SHIFTS.map(at).find(free);
      taken.push(found || [...at([0, 0]).slice(0, 2), size, size * 0.7]);
      return found ? [found[0] / scale, found[1] / scale] : null;
    });
  }

  function setLines(data, roles, scene, loading, colours) {
    const parts = { idle: [[], []], busy: [[], []], amber: [[], []], crimson: [[], []] };
    scene.segments.forEach(([x0, y0, x1, y1], k) => {
      const value = loading[k];
      const [xs, ys] = parts[level(value === null ? null : value / scene.limits.loading_max_percent)];
      xs.push(x0, x1, null);
      ys.push(y0, y1, null);
    });
    for (const [role, [x, y]] of Object.entries(parts)) {
      const trace = data[roles[role]];
      data[roles[role]] = { ...trace, x, y, line: { ...trace.line, color: colours[role] || trace.line.color } };
    }
  }

  function setArrows(data, roles, scene, forward, look) {
    const x = [], y = [], angle = [];
    for (const k of scene.arrows) {
      const [x0, y0, x1, y1] = scene.segments[k];
      x.push((x0 + x1) / 2);
      y.push((y0 + y1) / 2);
      const along = (Math.atan2(x1 - x0, y1 - y0) * 180) / Math.PI;
      angle.push(forward[k] ? along : along + 180);
    }
    const trace = data[roles.arrows];
    data[roles.arrows] = { ...trace, x, y, marker: { ...trace.marker, angle, ...look } };
  }

  /* The colour of a value on an even scale between two bounds. */
  function onRamp(value, { stops, bounds: [low, high] }) {
    if (value === null) return UNKNOWN;
    const place = (high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    const channel = (stop, k) => parseInt(stops[stop].slice(1 + 2 * k, 3 + 2 * k), 16);
    const mixed = [0, 1, 2].map((k) => channel(below, k) + (place - below) * (channel(below + 1, k) - channel(below, k)));
    return "rgb(" + mixed.map(Math.round).join(",") + ")";
  }

  function median(districts, owners, values) {
    return districts.map((district) => {
      const own = values.filter((value, k) => value !== null && owners[k] === district).sort((a, b) => a - b);
      return own.length ? (own[(own.length - 1) >> 1] + own[own.length >> 1]) / 2 : null;
    });
  }

  const stationOf = (element, scene) => scene.station_buses.findIndex((buses) => buses.some((bus) => "bus " + bus === element));

  /* Where an element is drawn: a branch as its two ends, a bus as its station. */
  function placeOf(element, scene, stations) {
    const branch = scene.elements.indexOf(element);
    if (branch >= 0) {
      const [x0, y0, x1, y1] = scene.segments[branch];
      return { x: [x0, x1], y: [y0, y1] };
    }
    const station = stationOf(element, scene);
    return station < 0 ? { x: [], y: [] } : { x: [stations.x[station]], y: [stations.y[station]] };
  }

  /* Draw a map at one time. `carbon` holds the districts' frames (null on the grid page), `element` is the
     branch or bus that was picked there. */
  function paint(step, layer, district, grid, base, scene, carbon, words, element) {
    if (!base) return keep();
    const data = base.data.slice();
    const roles = base.layout.meta;
    const shown = carbon && carbon[layer] ? carbon[layer] : null;
    const loading = grid.loading[step], voltage = grid.voltage[step];
    const columns = scene.districts.map((name) => (shown ? carbon.districts.indexOf(name) : -1));

    let values, labels, inks, fills;
    if (shown) {
      values = columns.map((k) => (k < 0 ? null : shown.values[step][k]));
      labels = columns.map((k) => (k < 0 ? "–" : shown.labels[step][k]));
      inks = columns.map((k) => (k < 0 ? INK : shown.inks[step][k]));
      fills = columns.map((k) => (k < 0 ? UNKNOWN : shown.fills[step][k]));
    } else {
      const ofVoltage = (value) => stressOfVoltage(value, scene.limits);
      if (layer === "voltage") values = worst(scene.districts, scene.station_districts, voltage, ofVoltage);
      else if (layer === "marginal") values = median(scene.districts, scene.station_districts, grid.marginal[step]);
      else values = worst(scene.districts, scene.segment_districts, loading, (value) => value);
      labels = values.map((value) => (value === null ? "–" : number(value, layer === "voltage" ? 3 : 0)));
      inks = values.map(() => "#334155");
      fills = values.map(() => PALE);
    }
    const unit = words.units[layer];
    scene.districts.forEach((name, k) => {
      const at = roles.polygons[name];
      if (at === undefined) return;
      const hover = scene.names[k] + "<br>" + labels[k] + " " + unit;
      data[at] = { ...data[at], fillcolor: fills[k], text: hover, meta: { district: name, value: values[k] } };
    });

    const chosen = roles.polygons[district];
    const outline = chosen === undefined ? { x: [], y: [] } : { x: data[chosen].x, y: data[chosen].y };
    for (const role of [roles.halo, roles.selected]) data[role] = { ...data[role], ...outline };

    data[roles.picked] = { ...data[roles.picked], ...placeOf(element, scene, data[roles.stations]) };

    setLines(data, roles, scene, loading, shown ? {} : { idle: "#94a3b8", busy: "#475569" });
    setArrows(data, roles, scene, grid.forward[step],
      shown ? { color: "#ffffff", size: 8, line: { color: INK, width: 1 } }
            : { color: "#334155", size: 7, line: { color: "#ffffff", width: 0.5 } });

    const stations = data[roles.stations];
    const marks = { crimson: CRIMSON, amber: AMBER };
    const stress = voltage.map((value) => level(stressOfVoltage(value, scene.limits)));
    const ofStations = { voltage, marginal: grid.marginal && grid.marginal[step] }[layer];
    const looks = {
      voltage: {
        size: stress.map((kind) => (marks[kind] ? 10 : 6)),
        symbol: stress.map((kind) => (marks[kind] ? "diamond" : "circle")),
        color: stress.map((kind) => marks[kind] || CALM),
      },
      marginal: ofStations && layer === "marginal"
        ? { size: 7, symbol: "circle", color: ofStations.map((value) => onRamp(value, words.ramp)) } : {},
    };
    data[roles.stations] = {
      ...stations,
      hoverinfo: ofStations ? "text" : "skip",
      hovertext: ofStations
        ? ofStations.map((value, k) => scene.station_names[k] + "<br>" + said(value, layer, words)) : [],
      marker: {
        ...stations.marker,
        ...(looks[layer] || { size: 3, symbol: "circle", color: shown ? "#ffffff" : SLATE }),
        line: { color: "#ffffff", width: ofStations ? 1 : 0 },
      },
    };
    data[roles.middles] = {
      ...data[roles.middles],
      hoverinfo: layer === "loading" ? "text" : "skip",
      hovertext: loading.map((value, k) => scene.segment_names[k] + "<br>" + number(value, 0) + " %"),
    };
    const size = window.innerWidth <= 640 ? 10.5 : 13;
    const spots = places(base.data[roles.labels], scene, scene.names, size);
    data[roles.labels] = {
      ...data[roles.labels],
      x: spots.map((spot, k) => (spot ? spot[0] : base.data[roles.labels].x[k])),
      y: spots.map((spot, k) => (spot ? spot[1] : base.data[roles.labels].y[k])),
      text: scene.names.map((name, k) => (spots[k] ? "<b>" + name + "</b><br>" : "") + labels[k]),
      hovertext: scene.names.map((name, k) => name + "<br>" + labels[k] + " " + unit),
      textfont: { ...data[roles.labels].textfont, size, color: inks, shadow: inks.map(halo) },
    };
    return { data, layout: base.layout };
  }

  const said = (value, layer, words) => number(value, layer === "voltage" ? 3 : 0) + " " + words.units[layer];

  /* --- the grid page --------------------------------------------------------------------------- */

  function paintGrid(step, layer, district, grid, element, ...drawing) {
    return paint(step, layer, district, grid, ...drawing, element);
  }

  /* The element under a click on the map; null where there is none. */
  function elementOf(click, scene, roles) {
    const point = click && click.points && click.points[0];
    if (!point) return null;
    if (point.curveNumber === roles.middles) return scene.elements[point.pointNumber];
    return point.curveNumber === roles.stations ? "bus " + scene.station_buses[point.pointNumber][0] : null;
  }

  /* A line or station picked on the map, or a row of the table, which also leads to its worst time. */
  function chooseElement(click, rows, element, listed, scene, base) {
    if (triggered() === "elements") {
      const row = Array.isArray(rows) && rows.length ? rows[0] : null;
      if (!row || row.id === element) return [keep(), keep(), keep(), keep(), keep()];
      return [row.id, keep(), keep(), keep(), row.step];
    }
    const clicked = elementOf(click, scene, base.layout.meta);
    if (clicked === null) return [keep(), keep(), keep(), null, keep()];
    const next = clicked === element ? "" : clicked;
    const shown = next && listed.some((row) => row.id === next);
    return [next, shown ? { ids: [next] } : [], shown ? { rowId: next } : keep(), null, keep()];
  }

  /* What was picked and how it is at the chosen time, or how to pick. */
  function picked(element, step, layer, grid, scene, words) {
    const branch = scene.elements.indexOf(element);
    if (branch >= 0) return scene.segment_names[branch] + " · " + said(grid.loading[step][branch], "loading", words);
    const station = stationOf(element, scene);
    if (station < 0) return words.pick;
    const shown = layer === "marginal" ? "marginal" : "voltage";
    return scene.station_names[station] + " · " + said(grid[shown][step][station], shown, words);
  }

  /* --- the city page --------------------------------------------------------------------------- */

  /* Rows of the ranked list at one time; day totals stay. */
  function rank(step, carbon, totals) {
    return totals.map((row) => {
      const k = carbon.districts.indexOf(row.id);
      return {
        ...row,
        intensity: carbon.intensity.values[step][k],
        rate: carbon.emissions.values[step][k],
        fill: carbon.intensity.fills[step][k],
      };
    });
  }

  function keyFigures(step, figures) {
    return figures.flatMap((figure) => [figure.values[step], figure.notes[step], "kpi-note " + figure.tones[step]]);
  }

  /* Show the legend of one layer only; the legends are this callback's outputs, ids ending in its layer. */
  function legendOf(layer) {
    const outputs = dash().callback_context.outputs_list;
    return outputs.map((output) => ({ display: output.id.split("-").pop() === layer ? "flex" : "none" }));
  }

  function filter(text, options) {
    return { ...options, quickFilterText: text || "" };
  }

  /* The reason that holds at the chosen time stands out. */
  function reasonsNow(step) {
    for (const item of document.querySelectorAll(".told li[data-first]")) {
      item.classList.toggle("now", Number(item.dataset.first) <= step && step < Number(item.dataset.end));
    }
    return keep();
  }

  function chooseRow(rows) {
    return rows && rows.length ? rows[0].id : keep();
  }

  /* Which parts of an entry's form its kind hides: what, amount, tonnes, source, key. */
  function entryKind(kind) {
    const key = kind === "key";
    return [key, kind !== "amount", kind !== "tonnes", key, !key];
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    wattshed: {
      play, tick, clock, timeLine, choice, address, go, heading, chooseDistrict, paint, paintGrid, rank, keyFigures,
      legendOf, filter, chooseRow, chooseElement, picked, reasonsNow, chooseCarbonDistrict, entryKind,
    },
  });
})();
