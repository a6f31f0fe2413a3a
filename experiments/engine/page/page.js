"use strict";
// Sorts tables, draws charts from the page's own data, and lets series be switched on and off.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const MANY_ROWS = 3000; // marks beyond which a canvas is smoother than SVG
  const ERRORS = 1; // the log level of Vega that keeps its warnings to itself
  const SHOWN = 12; // series shown at first where there are more

  function make(tag, attributes, text) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Tables -------------------------------------------------------------------------------------
  function sortBy(table, column, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const place = row.cells[column];
      return "number" in place.dataset ? Number(place.dataset.number) : place.textContent;
    };
    const compare = (a, b) => {
      const numbers = typeof a === "number" && typeof b === "number";
      if (typeof a !== typeof b) return null; // what is no number stays at the end
      return numbers ? a - b : a.localeCompare(b, undefined, { numeric: true });
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      const order = compare(a, b);
      if (order === null) return typeof a === "number" ? -1 : 1;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => sortBy(table, column, header));
    });
  }

  function replicaTable(details) {
    const names = [...new Set(data.replicas.flatMap(Object.keys))];
    const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    for (const name of names) {
      const header = make("th", { scope: "col" });
      header.append(make("button", { type: "button" }, name));
      head.append(header);
    }
    for (const each of data.replicas) {
      const row = body.insertRow();
      for (const name of names) {
        const value = each[name] ?? "", place = make("td", {}, String(value));
        if (value !== "" && !Number.isNaN(Number(value))) place.dataset.number = value;
        row.append(place);
      }
    }
    makeSortable(table);
    details.querySelector(".scroll").replaceChildren(table);
  }

  // Charts -------------------------------------------------------------------------------------
  function curveRows(curve, series, seeds) {
    const rows = [];
    curve.x.forEach((x, i) => rows.push({
      series, x, y: curve.mean[i], low: curve.low[i], high: curve.high[i], n: curve.n[i], seed: null,
    }));
    if (seeds) {
      for (const [seed, values] of Object.entries(curve.seeds))
        curve.x.forEach((x, i) => rows.push({ series, x, y: values[i], seed: Number(seed) }));
    }
    return rows;
  }

  const BUILD = {
    curves: (chosen, shown) => data.curves[chosen.metric]
      .filter((curve) => shown.has(data.labels[curve.cell]))
      .flatMap((curve) => curveRows(curve, data.labels[curve.cell], chosen.seeds)),
    layers: (chosen) => {
      const rows = data.diagnoses
        .filter((row) => row.quantity === chosen.quantity && row.epoch <= Number(chosen.epoch));
      const last = {}; // a cell that trained for fewer epochs stays as it was
      for (const row of rows) last[row.cell] = Math.max(last[row.cell] ?? 0, row.epoch);
      return rows.filter((row) => row.epoch === last[row.cell])
        .map((row) => ({ series: data.labels[row.cell], x: row.layer, mean: row.value }));
    },
    epochs: (chosen) => data.diagnoses
      .filter((row) => row.quantity === chosen.quantity && data.labels[row.cell] === chosen.cell)
      .map((row) => ({ series: row.layer, x: row.epoch, mean: row.value })),
  };
  const POSITION = { x: ["x"], y: ["y", "mean"] };

  function logarithmic(spec, channel) {
    for (const part of [spec, ...(spec.layer || [])]) {
      const own = part.encoding && part.encoding[channel];
      if (!own) continue;
      own.scale = { ...own.scale, type: "log" };
      delete own.scale.zero;
    }
  }

  function controlled(figure) {
    const chosen = {};
    for (const control of figure.querySelectorAll("[data-control]"))
      chosen[control.dataset.control] =
        control.type === "checkbox" ? control.checked : control.value;
    return chosen;
  }

  const shownSeries = (figure) => new Set(
    [...figure.querySelectorAll(".legend button[aria-pressed=true][data-series]")]
      .map((button) => button.dataset.series));

  function rowsOf(figure, chart, chosen) {
    const shown = shownSeries(figure), build = BUILD[chart.build];
    let rows = build ? build(chosen, shown) : chart.rows;
    if (chart.legend.length) rows = rows.filter((row) => shown.has(row.series));
    for (const channel of ["x", "y"]) {
      if (!chosen[`log-${channel}`]) continue;
      rows = rows.filter((row) => POSITION[channel].every((f) => !(f in row) || row[f] > 0));
      if (channel === "y") rows = rows.map((row) => (row.low <= 0 ? { ...row, low: null } : row));
    }
    return rows;
  }

  async function draw(figure) {
    const chart = data.charts[figure.dataset.chart], chosen = controlled(figure);
    const spec = structuredClone(chart.spec), rows = rowsOf(figure, chart, chosen);
    for (const channel of ["x", "y"]) if (chosen[`log-${channel}`]) logarithmic(spec, channel);
    spec.datasets = { ...spec.datasets, rows };
    if (figure.view) figure.view.finalize();
    figure.view = await vegaEmbed(figure.querySelector(".view"), spec, {
      renderer: rows.length > MANY_ROWS ? "canvas" : "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
      logLevel: ERRORS,
    });
    figure.dataset.rows = rows.length;
  }

  function redraw(figure) {
    figure.drawing = (figure.drawing || Promise.resolve()).then(() => draw(figure));
    return figure.drawing;
  }

  function swatch({ colour, dash }) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg"), line = document.createElementNS(space, "line");
    for (const [n, v] of [["width", 28], ["height", 10], ["aria-hidden", "true"]]) svg.setAttribute(n, v);
    const marks = { x1: 0, x2: 28, y1: 5, y2: 5, stroke: colour, "stroke-width": 3,
      "stroke-dasharray": dash.join(" ") };
    for (const [name, value] of Object.entries(marks)) line.setAttribute(name, value);
    svg.append(line);
    return svg;
  }

  function addLegend(figure, legend) {
    const box = figure.querySelector(".legend"), buttons = [];
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    legend.forEach((each, i) => {
      const button = make("button", { type: "button" });
      button.dataset.series = each.name;
      button.append(swatch(each), each.name);
      press(button, i < SHOWN);
      button.addEventListener("click", () => {
        press(button, button.getAttribute("aria-pressed") !== "true");
        redraw(figure);
      });
      buttons.push(button);
    });
    for (const [text, on] of [["all", true], ["none", false]]) {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => { buttons.forEach((b) => press(b, on)); redraw(figure); });
      buttons.push(button);
    }
    box.append(...buttons);
    buttons.splice(legend.length);
  }

  async function start() {
    document.querySelectorAll("table").forEach(makeSortable);
    const details = document.getElementById("replicas");
    if (details) details.addEventListener("toggle", () => replicaTable(details), { once: true });
    const figures = [...document.querySelectorAll("figure.chart")];
    for (const figure of figures) {
      const chart = data.charts[figure.dataset.chart];
      if (chart.legend.length) addLegend(figure, chart.legend);
      figure.addEventListener("change", () => redraw(figure));
      await redraw(figure);
    }
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => figures.forEach(redraw));
    document.documentElement.dataset.ready = "true";
  }
  start();
})();
