// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Draws the sections of a report. Each text comes from outside (names of layers, files), so it is
// only ever set as text, never as HTML.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#4e79a7", "#e15759", "#b07aa1", "#9c755f", "#59a14f", "#f1a340", "#76b7b2", "#8c8c8c"];
  const MOST_POINTS = 1500;
  const MOST_ROWS = 25;
  const redraws = [];

  // ---- Texts ----

  function bytes(value) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (Math.abs(value) >= 1024 && unit < units.length - 1) {
      value /= 1024;
      unit += 1;
    }
    return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
  }

  function time(ns) {
    if (ns < 1e3) return `${Math.round(ns)} ns`;
    if (ns < 999.5e3) return `${(ns / 1e3).toPrecision(3)} us`;
    if (ns < 999.5e6) return `${(ns / 1e6).toPrecision(3)} ms`;
    return `${(ns / 1e9).toPrecision(3)} s`;
  }

  function text(value, unit) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return value;
    if (unit === "bytes") return bytes(value);
    if (unit === "ns") return time(value);
    if (unit === "percent") return `${value.toFixed(1)} %`;
    return String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));
  }

  function element(name, parent, content, className) {
    const made = document.createElement(name);
    if (content !== undefined) made.textContent = content;
    if (className) made.className = className;
    if (parent) parent.appendChild(made);
    return made;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function swatch(parent, name, fill) {
    const made = element("span", parent, name, fill ? "" : "plain");
    if (fill) made.style.setProperty("--swatch", fill);
    return made;
  }

  // ---- Long series ----

  // The rows to show of [first, last]: of each of MOST_POINTS equal parts those that stand out. So a
  // peak stays in sight at any zoom. Of stacked series that is the row with the largest sum, of others
  // the smallest and the largest of each.
  function outstanding(columns, first, last, stacked) {
    const rows = [];
    const part = (last - first + 1) / MOST_POINTS;
    for (let p = 0; p < MOST_POINTS; p += 1) {
      const from = first + Math.floor(p * part);
      const to = first + Math.floor((p + 1) * part);
      const chosen = new Set();
      const choose = (value) => {
        let best = -1;
        for (let i = from; i < to; i += 1) {
          if (value(i) !== null && (best < 0 || value(i) > value(best))) best = i;
        }
        if (best >= 0) chosen.add(best);
      };
      if (stacked) {
        choose((i) => columns.reduce((sum, column) => sum + column[i], 0));
      } else {
        for (const column of columns) {
          choose((i) => column[i]);
          choose((i) => (column[i] === null ? null : -column[i]));
        }
      }
      rows.push(...[...chosen].sort((a, b) => a - b));
    }
    return rows;
  }

  // `counted`: the columns that say which rows stand out.
  function sampled(xs, columns, counted, from, to, stacked) {
    let first = 0;
    let last = xs.length - 1;
    while (first < last && xs[first + 1] < from) first += 1;
    while (last > first && xs[last - 1] > to) last -= 1;
    const row = (i) => [xs[i], ...columns.map((column) => column[i])];
    const all = () => Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const inside = last - first < MOST_POINTS ? all() : outstanding(counted, first, last, stacked);
    const ends = [0, ...inside, xs.length - 1];
    return ends.filter((i, k) => i >= 0 && (k === 0 || i > ends[k - 1])).map(row);
  }

  function longChart(section, parent, options) {
    const legend = element("div", parent, undefined, "legend");
    const box = element("div", parent, undefined, "chart");
    const xs = section.x.values;
    // dygraphs puts the first series on top.
    const all = section.series.map((series, i) => ({ ...series, colour: COLOURS[i % COLOURS.length] }));
    if (options.stacked) all.reverse();
    const columns = all.map((series) => series.values);
    const counts = all.map((series) => !series.beside);
    const counted = columns.filter((_, i) => counts[i]);
    const rows = (from, to) => sampled(xs, columns, counted, from, to, options.stacked);
    const names = all.map((series) => series.name);
    const colours = all.map((series) => series.colour);
    const legendOrder = all.map((_, i) => (options.stacked ? all.length - 1 - i : i));
    const say = (point) => {
      legend.replaceChildren();
      const at = point ? ` at ${text(point.x, section.x.unit)}` : "";
      for (const i of legendOrder) {
        const value = point ? `: ${text(point.values[i], section.unit)}` : "";
        swatch(legend, names[i] + value, colours[i]);
      }
      if (point && options.stacked) {
        const total = point.values.reduce((sum, one, i) => sum + (counts[i] ? one || 0 : 0), 0);
        swatch(legend, `together ${text(total, section.unit)}`);
      }
      if (section.line) swatch(legend, `${section.line.name}: ${text(section.line.value, section.unit)}`);
      if (point) swatch(legend, at);
    };
    const first = xs.length ? xs[0] : 0;
    const end = xs.length ? xs[xs.length - 1] : 1;
    let graph = null;
    const draw = () => {
      if (graph) graph.destroy();
      graph = new Dygraph(box, rows(first, end), {
        labels: [section.x.name, ...names],
        colors: colours,
        stackedGraph: options.stacked,
        stepPlot: options.stacked,
        fillAlpha: 0.75,
        strokeWidth: options.stacked ? 0.5 : 1.5,
        connectSeparatedPoints: true,
        legend: "never",
        xlabel: section.x.name,
        gridLineColor: colour("--line"),
        axisLineColor: colour("--line"),
        valueRange: options.range,
        rightGap: 12,
        axes: {
          x: { axisLabelFormatter: (x) => text(x, section.x.unit), axisLabelWidth: 64 },
          y: {
            axisLabelFormatter: (y) => text(y, section.unit),
            axisLabelWidth: 70,
            labelsKMG2: section.unit === "bytes",
          },
        },
        highlightCallback: (_, x, points, row) => {
          const values = names.map((_name, i) => graph.getValue(row, i + 1));
          say({ x, values });
        },
        unhighlightCallback: () => say(null),
        zoomCallback: (from, to) => {
          graph.updateOptions({ file: rows(from, to), dateWindow: [from, to] });
        },
        underlayCallback: (context, area, chart) => {
          for (const [from, to] of section.marks || []) {
            const left = chart.toDomXCoord(from);
            context.fillStyle = "rgba(225, 87, 89, 0.22)";
            context.fillRect(left, area.y, Math.max(1, chart.toDomXCoord(to) - left), area.h);
          }
          if (!section.line) return;
          const y = chart.toDomYCoord(section.line.value);
          context.strokeStyle = colour("--warn");
          context.setLineDash([6, 4]);
          context.beginPath();
          context.moveTo(area.x, y);
          context.lineTo(area.x + area.w, y);
          context.stroke();
          context.setLineDash([]);
        },
      });
      say(null);
    };
    redraws.push(draw);
    draw();
    const out = element("button", parent, "whole range");
    out.type = "button";
    out.addEventListener("click", () => {
      graph.updateOptions({ file: rows(first, end), dateWindow: [first, end] });
    });
  }

  function area(section, parent) {
    let most = section.line ? section.line.value : 0;
    const values = section.series.map((series) => series.values);
    for (let i = 0; i < section.x.values.length; i += 1) {
      let sum = 0;
      for (const column of values) sum += column[i];
      if (sum > most) most = sum;
    }
    longChart(section, parent, { stacked: true, range: [0, most * 1.05 || 1] });
  }

  function lines(section, parent) {
    longChart(section, parent, { stacked: false, range: null });
  }

  // ---- Bars and points ----

  function chart(parent, height, configuration) {
    const box = element("div", parent, undefined, "chart");
    if (height) box.style.height = height;
    const canvas = element("canvas", box);
    let drawn = null;
    const draw = () => {
      if (drawn) drawn.destroy();
      Chart.defaults.color = colour("--soft");
      Chart.defaults.borderColor = colour("--line");
      drawn = new Chart(canvas, configuration());
    };
    redraws.push(draw);
    draw();
  }

  const plain = { animation: false, responsive: true, maintainAspectRatio: false };

  function bars(section, parent) {
    chart(parent, `${4 + 1.6 * section.names.length}rem`, () => ({
      type: "bar",
      data: {
        labels: section.names,
        datasets: section.series.map((series, i) => ({
          label: series.name,
          data: series.values,
          backgroundColor: COLOURS[(series.colour === undefined ? i : series.colour) % COLOURS.length],
        })),
      },
      options: {
        ...plain,
        indexAxis: "y",
        scales: {
          x: { stacked: true, ticks: { callback: (value) => text(value, section.unit) } },
          y: { stacked: true },
        },
        plugins: {
          tooltip: { callbacks: { label: (at) => `${at.dataset.label}: ${text(at.parsed.x, section.unit)}` } },
        },
      },
    }));
  }

  // A shape for each series, so that they differ where colours come again or are not seen.
  const SHAPES = ["circle", "rect", "triangle", "rectRot", "star", "crossRot", "rectRounded"];

  // A point: x, y, and where they are known the time in ns and a name of its own.
  function points(section, parent) {
    chart(parent, undefined, () => ({
      type: "scatter",
      data: {
        datasets: section.series.map((series, i) => ({
          label: series.name,
          data: series.points.map(([x, y, ns, name]) => ({ x, y, ns, name })),
          showLine: series.line,
          pointRadius: series.line ? 3 : 6,
          pointStyle: SHAPES[i % SHAPES.length],
          borderColor: COLOURS[i % COLOURS.length],
          backgroundColor: COLOURS[i % COLOURS.length],
        })),
      },
      options: {
        ...plain,
        scales: {
          x: {
            title: { display: true, text: section.x.name },
            ticks: { callback: (value) => text(value, section.x.unit) },
          },
          y: {
            title: { display: true, text: section.y.name },
            ticks: { callback: (value) => text(value, section.y.unit) },
          },
        },
        plugins: {
          legend: { labels: { usePointStyle: true } },
          tooltip: {
            callbacks: {
              label: (at) => {
                const { ns, name } = at.raw;
                const known = [text(at.parsed.x, section.x.unit), text(at.parsed.y, section.y.unit)];
                if (typeof ns === "number") known.push(text(ns, "ns"));
                return `${name || at.dataset.label}: ${known.join(", ")}`;
              },
            },
          },
        },
      },
    }));
  }

  // ---- Tables ----

  function table(section, parent) {
    const box = element("div", parent, undefined, "scroll");
    const made = element("table", box);
    const head = element("tr", element("thead", made));
    const body = element("tbody", made);
    let rows = section.rows.map((cells, i) => ({ cells, marked: section.marked === i }));
    let most = MOST_ROWS;
    const more = element("button", parent, "");
    more.type = "button";
    const fill = () => {
      body.replaceChildren();
      for (const { cells, marked } of rows.slice(0, most)) {
        const row = element("tr", body, undefined, marked ? "marked" : "");
        cells.forEach((cell, i) => {
          element("td", row, text(cell, section.columns[i].unit), typeof cell === "number" ? "number" : "");
        });
      }
      more.hidden = rows.length <= most;
      more.textContent = `all ${rows.length} rows`;
    };
    more.addEventListener("click", () => {
      most = rows.length;
      fill();
    });
    section.columns.forEach((column, i) => {
      const cell = element("th", head, column.name, column.unit === undefined ? "" : "number");
      cell.addEventListener("click", () => {
        const down = cell.getAttribute("aria-sort") !== "descending";
        for (const other of head.children) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        const order = (a, b) => (a.cells[i] < b.cells[i] ? -1 : a.cells[i] > b.cells[i] ? 1 : 0);
        rows = [...rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
        fill();
      });
    });
    fill();
  }

  // ---- The page ----

  function facts(all, parent) {
    const list = element("dl", parent, undefined, "facts");
    for (const [name, value, unit] of all) {
      const box = element("div", list);
      element("dt", box, name);
      element("dd", box, text(value, unit));
    }
  }

  // The heading of a file, where the page has several.
  function part(section, parent) {
    parent.className = "part";
    facts(section.facts, parent);
  }

  const kinds = { area, lines, bars, points, table, part };
  element("h1", document.body, data.title);
  element("p", document.body, data.subtitle);
  facts(data.facts, document.body);
  for (const section of data.sections) {
    const parent = element("section", document.body);
    element("h2", parent, section.title);
    if (section.text) element("p", parent, section.text);
    kinds[section.kind](section, parent);
  }
  element("footer", document.body, data.footer);

  const redraw = () => redraws.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", redraw);
  document.documentElement.dataset.drawn = String(data.sections.length);
})();
