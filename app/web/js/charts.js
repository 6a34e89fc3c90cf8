// Small charts of the last two minutes.

import { colour } from "./colours.js";
import { el, say } from "./dom.js";
import { SPAN_MS, bridged, quantile, roundUp, saved, steps } from "./history.js";
import { count, milliseconds, percent } from "./words.js";

const N_STEPS = 240;
const STAGES = ["decode", "flow", "plan", "canvas", "detect", "merge"];
const PAD = { left: 40, right: 6, top: 8, bottom: 18 };

/** Three charts: latency, stages, pixels. `draw(history, now_ms)` brings them up to date. */
export function charts() {
  const all = [latencyChart(), stagesChart(), pixelsChart()];
  const element = el(
    "section",
    { class: "charts", "aria-label": "Measurements of the last two minutes" },
    all.map((one) => one.element),
  );
  return {
    element,
    draw: (history, now_ms) => all.forEach((one) => one.draw(history.since(now_ms - SPAN_MS), now_ms)),
  };
}

const line = (samples, value, now_ms) => bridged(steps(samples, value, N_STEPS, now_ms));

function latencyChart() {
  return chart("Latency", "from capture to result", (samples, now_ms) => {
    const ages = samples.map((sample) => sample.age).filter((age) => age !== null);
    const [half, most] = [quantile(ages, 0.5), quantile(ages, 0.95)];
    return {
      figure: milliseconds(half),
      words: `median; 95 % below ${milliseconds(most)}`,
      lines: [{ name: "age", colour: colour("--chart-a"), values: line(samples, (sample) => sample.age, now_ms) }],
      unit: (value) => milliseconds(value),
    };
  });
}

function stagesChart() {
  return chart("Stages", "work on a frame", (samples, now_ms) => {
    const lines = STAGES.map((name, place) => ({
      name,
      colour: colour(`--stage-${place + 1}`),
      values: line(samples, (sample) => sample.stages[name] ?? 0, now_ms),
    }));
    const sum = quantile(
      samples.map((sample) => Object.values(sample.stages).reduce((a, b) => a + b, 0)),
      0.5,
    );
    return {
      figure: milliseconds(sum),
      words: "of work on the median frame",
      lines,
      isStacked: true,
      unit: (value) => milliseconds(value),
    };
  });
}

function pixelsChart() {
  return chart("Pixels", "looked at by the detector", (samples, now_ms) => {
    const share = saved(samples);
    const source = samples.at(-1)?.source ?? 0;
    const looked = samples.length ? samples.reduce((sum, sample) => sum + sample.detector, 0) / samples.length : 0;
    return {
      figure: share === null ? "–" : percent(share),
      words: source ? `saved: ${count(looked)} looked at of ${count(source)} a frame` : "saved",
      lines: [
        { name: "looked at", colour: colour("--chart-b"), values: line(samples, (sample) => sample.detector, now_ms) },
      ],
      limit: source ? { value: source, name: `frame ${count(source)}` } : null,
      isStacked: true,
      unit: (value) => count(value),
    };
  });
}

function chart(title, subtitle, read) {
  const figure = el("span", { class: "chart-figure" }, "–");
  const words = el("span", { class: "chart-words" }, subtitle);
  const canvas = el("canvas", { class: "chart-canvas", role: "img", "aria-label": title });
  const legend = el("ul", { class: "chart-legend" });
  const element = el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, el("span", { class: "chart-title" }, title), figure, words),
    canvas,
    legend,
  );
  let last = null;
  let pointer = null;
  const redraw = () => last && paint(canvas, last, pointer);
  canvas.addEventListener("pointermove", (event) => {
    pointer = event.offsetX / canvas.clientWidth;
    redraw();
  });
  canvas.addEventListener("pointerleave", () => {
    pointer = null;
    redraw();
  });
  return {
    element,
    draw(samples, now_ms) {
      last = read(samples, now_ms);
      say(figure, last.figure);
      say(words, last.words);
      canvas.setAttribute("aria-label", `${title}: ${last.figure} ${last.words}`);
      drawLegend(legend, last.lines);
      redraw();
    },
  };
}

function drawLegend(legend, lines) {
  if (lines.length < 2) return;
  if (legend.children.length !== lines.length) {
    legend.replaceChildren(
      ...lines.map((line) => el("li", {}, el("i", { class: "swatch", "aria-hidden": "true" }), line.name)),
    );
  }
  lines.forEach((line, place) => legend.children[place].firstChild.style.setProperty("background-color", line.colour));
}

function paint(canvas, shown, pointer) {
  const density = Math.min(2, devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
  }
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  const layers = shown.isStacked ? stacked(shown.lines) : shown.lines.map((line) => ({ ...line, base: null }));
  const top = topOf(layers, shown.limit);
  const area = { x: PAD.left, y: PAD.top, width: width - PAD.left - PAD.right, height: height - PAD.top - PAD.bottom };
  paintAxes(context, area, top, shown.unit);
  for (const layer of layers) paintLayer(context, area, top, layer);
  if (shown.limit) paintLimit(context, area, top, shown.limit);
  if (pointer !== null) paintPointer(context, area, (pointer * width - area.x) / area.width, shown);
}

/** The source's pixels are shown where they do not squeeze everything else to nothing. */
function topOf(layers, limit) {
  const most = layers.reduce((sum, layer) => Math.max(sum, ...layer.values.map((value) => value ?? 0)), 0);
  return roundUp(limit ? Math.max(most, limit.value * 1.05) : most);
}

/** Lines on top of each other: each has the one below it as its base. */
export function stacked(lines) {
  let base = null;
  return lines.map((line) => {
    const below = base;
    base = line.values.map((value, place) => (value === null ? null : value + (below?.[place] ?? 0)));
    return { ...line, values: base, base: below ?? line.values.map(() => 0) };
  });
}

function paintAxes(context, area, top, unit) {
  context.font = "10.5px system-ui, sans-serif";
  context.fillStyle = colour("--muted");
  context.strokeStyle = colour("--line");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = Math.round(area.y + area.height * (1 - share)) + 0.5;
    context.beginPath();
    context.moveTo(area.x, y);
    context.lineTo(area.x + area.width, y);
    context.stroke();
    context.fillText(share ? unit(top * share).replace(" ms", "") : "0", area.x - 5, y);
  }
  context.textBaseline = "alphabetic";
  for (const [share, text, align] of [
    [0, "2 min ago", "left"],
    [0.5, "1 min", "center"],
    [1, "now", "right"],
  ]) {
    context.textAlign = align;
    context.fillText(text, area.x + area.width * share, area.y + area.height + 14);
  }
}

function paintLayer(context, area, top, { values, base, colour: ink }) {
  const x = (place) => area.x + ((place + 0.5) / values.length) * area.width;
  const y = (value) => area.y + area.height * (1 - Math.min(1, value / top));
  for (const [from, to] of runs(values)) {
    context.beginPath();
    for (let place = from; place <= to; place += 1) context.lineTo(x(place), y(values[place]));
    if (base) {
      for (let place = to; place >= from; place -= 1) context.lineTo(x(place), y(base[place] ?? 0));
      context.fillStyle = ink;
      context.globalAlpha = 0.8;
      context.fill();
      context.globalAlpha = 1;
    } else {
      context.lineWidth = 1.75;
      context.lineJoin = "round";
      context.strokeStyle = ink;
      context.stroke();
    }
  }
}

/** Stretches that were measured: `[from, to]`. */
export function runs(values) {
  const found = [];
  values.forEach((value, place) => {
    if (value === null) return;
    if (found.at(-1)?.[1] === place - 1) found.at(-1)[1] = place;
    else found.push([place, place]);
  });
  return found;
}

function paintLimit(context, area, top, limit) {
  const y = area.y + area.height * (1 - limit.value / top);
  context.setLineDash([4, 4]);
  context.strokeStyle = colour("--muted");
  context.beginPath();
  context.moveTo(area.x, y);
  context.lineTo(area.x + area.width, y);
  context.stroke();
  context.setLineDash([]);
  context.textAlign = "left";
  context.fillStyle = colour("--muted");
  context.fillText(limit.name, area.x + 4, y + 13);
}

function paintPointer(context, area, share, { lines, unit }) {
  if (share < 0 || share > 1) return;
  const x = area.x + share * area.width;
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, area.y);
  context.lineTo(x, area.y + area.height);
  context.stroke();
  const n = lines[0].values.length;
  const place = Math.min(n - 1, Math.floor(share * n));
  const values = lines.map((line) => line.values[place]).filter((value) => value !== null);
  if (!values.length) return;
  const text = `${unit(values.reduce((a, b) => a + b, 0))}, ${Math.round((1 - share) * 120)} s ago`;
  const width = context.measureText(text).width + 10;
  const left = Math.min(Math.max(area.x, x - width / 2), area.x + area.width - width);
  context.fillStyle = colour("--ink");
  context.fillRect(left, area.y, width, 17);
  context.fillStyle = colour("--surface");
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillText(text, left + 5, area.y + 9);
}
