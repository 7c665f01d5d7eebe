"use strict";
// Grids and curves of runs at equal images seen. All data is in the page; positions are the images seen at some run's grid.
const data = JSON.parse(document.getElementById("data").textContent);
const { runs, curves } = data;
const $ = (id) => document.getElementById(id);
const COLOURS = 7, DASHES = ["", "7 3", "2 3", "9 3 2 3", "14 4", "5 5", "9 2 2 2 2 2"];
const dash = (index) => DASHES[(index + Math.floor(index / COLOURS)) % DASHES.length];
const MARGIN = { left: 56, top: 14, bottom: 34 };
const positions = [...new Set(runs.flatMap((run) => run.grids.map((grid) => grid.images)))].sort((a, b) => a - b);
const end = Math.max(1, ...runs.map((run) => run.borders[run.borders.length - 1]));
const colour = (index) => `--colour: var(--run${index % COLOURS})`;
const count = (number) => Math.round(number).toLocaleString("en-US");
const short = (n, digits = 3) => {
  const [unit, name] = n >= 1e6 ? [1e6, "M"] : n >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${+(n / unit).toPrecision(digits)}${name}`;
};

// As few digits as tell these ticks apart.
function tickTexts(values) {
  for (let digits = 3; digits < 8; digits++) {
    const texts = values.map((value) => short(value, digits));
    if (new Set(texts).size === texts.length) return texts;
  }
  return values.map(String);
}

// The last item of a list, ordered by images, that is not beyond the position.
function latest(list, images, of = (item) => item.images) {
  let found = null;
  for (const item of list) if (of(item) <= images) found = item;
  return found;
}

function element(tag, attributes = {}, text = "", svg = false) {
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// --- cards -------------------------------------------------------------------------------------------------------

const cards = runs.map((run, index) => {
  const card = element("article", { class: "card", style: colour(index) });
  const title = element("h2", {}, run.title + " ");
  title.append(element("small", {}, run.name));
  const image = element("img", { alt: `Samples of ${run.title}`, decoding: "sync" });
  const missing = element("div", { class: "missing" }, run.grids.length ? "no grid so early" : "this run drew no grids");
  const caption = element("p");
  card.append(title, image, missing, caption);
  $("cards").append(card);
  return { card, image, missing, caption };
});

// As many columns of cards as make the grids largest without hiding a row of cards below the window's edge. Multiples of
// half a pixel of the grid look even; a card narrower than the grid shrinks it.
const CARD_EXTRA = 24, CARD_WORDS = 96, GAP = 13;
function sizeImages() {
  const sizes = cards.map(({ image }) => [image.naturalWidth, image.naturalHeight]).filter(([width]) => width);
  if (!sizes.length) return;
  const width = Math.max(...sizes.map((size) => size[0])), height = Math.max(...sizes.map((size) => size[1]));
  const room = $("cards").clientWidth, tall = window.innerHeight - $("controls").offsetHeight;
  let best = { scale: 0 };
  for (let columns = 1; columns <= cards.length; columns++) {
    const rows = Math.ceil(cards.length / columns);
    const wide = (room - (columns - 1) * GAP) / columns - CARD_EXTRA;
    const high = room < 700 ? Infinity : (tall - (rows - 1) * GAP) / rows - CARD_WORDS;  // a phone scrolls anyway
    const scale = Math.min(wide / width, Math.max(high, 120) / height);
    if (scale > best.scale) best = { scale, columns };
  }
  const scale = best.scale < 1 ? best.scale : Math.floor(2 * best.scale) / 2;
  $("cards").style.gridTemplateColumns = `repeat(${best.columns}, minmax(0, 1fr))`;
  for (const { image } of cards) image.style.width = `${scale * image.naturalWidth}px`;
  $("real").style.width = `${scale * $("real").naturalWidth}px`;
}

function showGrids(images) {
  cards.forEach(({ image, missing, caption }, index) => {
    const run = runs[index];
    const grid = latest(run.grids, images);
    image.hidden = !grid;
    missing.hidden = Boolean(grid);
    if (!grid) { caption.textContent = ""; return; }
    if (image.dataset.epoch !== String(grid.epoch)) {
      image.dataset.epoch = grid.epoch;
      image.src = grid.src;
    }
    const last = run.grids[run.grids.length - 1].images;
    const older = grid.images < images ? (images > last ? "; its last grid" : "; the grid before this point") : "";
    caption.textContent = `epoch ${grid.epoch} of ${run.epochs} · ${grid.stage} · ${count(grid.images)} images${older}`;
  });
}

// --- charts ------------------------------------------------------------------------------------------------------

function scale(low, high, from, to, log) {
  if (log) [low, high] = [Math.log(low), Math.log(high)];
  if (high === low) high = low + 1;
  return (value) => from + ((log ? Math.log(value) : value) - low) / (high - low) * (to - from);
}

function ticks(low, high, log) {
  const found = [];
  if (log && high / low > 2) {
    const decades = Math.log10(high / low);
    const steps = decades > 3 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const step of steps) found.push(step * 10 ** power);
  } else {
    const rough = (high - low) / 5 || 1, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * unit >= rough) * unit;
    for (let value = Math.ceil(low / step) * step; value <= high * (1 + 1e-9); value += step) found.push(value);
  }
  return found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
}

// Draw axes and lines into an svg; returns the scales. A line is {index, points}.
function drawChart(svg, lines, xHigh, xLabel, log, marginRight) {
  const width = svg.clientWidth, height = svg.clientHeight;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const add = (tag, attributes, text) => svg.appendChild(element(tag, attributes, text, true));
  const values = lines.flatMap((line) => line.points.map((point) => point[1])).filter((value) => !log || value > 0);
  const right = width - marginRight, bottom = height - MARGIN.bottom;
  if (!values.length) {
    add("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing was logged here");
    return null;
  }
  const low = log ? Math.min(...values) / 1.05 : Math.min(0, ...values), high = Math.max(...values) * 1.05;
  const x = scale(0, xHigh, MARGIN.left, right, false), y = scale(low, high, bottom, MARGIN.top, log);
  const levels = ticks(low, high, log), texts = tickTexts(levels);
  levels.forEach((value, i) => {
    add("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) });
    add("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, texts[i]);
  });
  for (const value of ticks(0, xHigh, false))
    add("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, short(value));
  add("text", { x: (MARGIN.left + right) / 2, y: height - 3, "text-anchor": "middle" }, xLabel);
  // Later lines are thinner: where lines coincide, the earlier ones still show on both sides.
  for (const line of lines) {
    const inside = line.points.filter((point) => !log || point[1] > 0);
    const path = inside.map((point, i) => `${i ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
    add("path", { class: "curve", d: path, style: `${colour(line.index)}; stroke-width: ${Math.max(1.6, 4 - 0.5 * line.index)}`, "stroke-dasharray": dash(line.index) });
  }
  return { x, y, right, bottom, add };
}

// Room at the right for the longest label: a title and a value. At most two fifths of a narrow chart.
function labelRoom() {
  const longest = Math.max(...runs.map((run) => run.title.length)) + 8;
  return Math.min(16 + 7.5 * longest, 0.4 * $("curves").querySelector("svg").clientWidth);
}

let chart = null;
let lines = [];

function drawCurves() {
  const chosen = curves.find((curve) => curve.key === $("metric").value);
  $("curve-note").textContent = chosen.note;
  lines = runs.map((run, index) => ({ index, points: run.curves[chosen.key] || [] }));
  chart = drawChart($("curves").querySelector("svg"), lines, end, "images seen", $("log").checked, labelRoom());
  if (!chart) return;
  const borders = [...new Set(runs.flatMap((run) => run.borders.slice(1, -1)))];
  for (const border of borders) {
    const x = chart.x(border);
    chart.add("line", { class: "border", x1: x, x2: x, y1: MARGIN.top, y2: chart.bottom });
  }
  chart.cursor = chart.add("line", { class: "cursor", y1: MARGIN.top, y2: chart.bottom });
  chart.marks = lines.map(({ index }) => ({
    dot: chart.add("circle", { class: "dot", r: 4, style: colour(index) }),
    text: chart.add("text", { class: "value", style: colour(index) }),
  }));
}

// The cursor, and each run's value there at the right edge, moved apart where they would overlap.
function moveCursor(images) {
  if (!chart) return;
  chart.cursor.setAttribute("x1", chart.x(images));
  chart.cursor.setAttribute("x2", chart.x(images));
  const labels = [];
  lines.forEach((line, i) => {
    const point = latest(line.points, images, (p) => p[0]);
    const { dot, text } = chart.marks[i];
    const shown = point && (!$("log").checked || point[1] > 0);
    dot.style.display = text.style.display = shown ? "" : "none";
    if (!shown) return;
    dot.setAttribute("cx", chart.x(point[0]));
    dot.setAttribute("cy", chart.y(point[1]));
    text.textContent = `${runs[i].title} ${short(point[1])}`;
    text.setAttribute("x", chart.right + 4);
    labels.push({ text, y: chart.y(point[1]) + 4 });
  });
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, i) => { if (i) label.y = Math.max(label.y, labels[i - 1].y + 14); });
  const beyond = labels.length ? Math.max(0, labels[labels.length - 1].y - chart.bottom) : 0;
  labels.forEach(({ text, y }) => text.setAttribute("y", y - beyond));
}

function drawBands(images) {
  const profiles = runs.map((run, index) => {
    const row = latest(run.bands, images);
    return { index, points: row ? row.loss.map((loss, band) => [(band + 0.5) / data.bands, loss]) : [] };
  });
  drawChart($("bands").querySelector("svg"), profiles, 1, "timestep t/T", true, 16);
}

// --- moving ------------------------------------------------------------------------------------------------------

let asked = false;
function update() {
  asked = false;
  const images = positions[+$("position").value] || 0;
  $("seen").textContent = `${count(images)} of ${count(end)} images`;
  showGrids(images);
  moveCursor(images);
  drawBands(images);
}

// At most one update per frame, however fast the slider moves.
function ask() {
  if (!asked) { asked = true; requestAnimationFrame(update); }
}

function goTo(index) {
  $("position").value = index;
  ask();
}

let timer = 0;
function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => {
    const here = +$("position").value;
    if (here >= positions.length - 1) play(false); else goTo(here + 1);
  }, 150) : 0;
  $("play").textContent = on ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(on));
}

function follow(event) {
  if (!chart || (event.type === "pointermove" && !event.buttons)) return;
  const box = event.currentTarget.getBoundingClientRect();
  const share = (event.clientX - box.left - MARGIN.left) / (chart.right - MARGIN.left);
  const distance = (images) => Math.abs(images - share * end);
  goTo(positions.reduce((best, images, i) => (distance(images) < distance(positions[best]) ? i : best), 0));
}

for (const curve of curves)
  if (runs.some((run) => run.curves[curve.key])) $("metric").append(element("option", { value: curve.key }, curve.label));
const pickLog = () => { $("log").checked = (curves.find((curve) => curve.key === $("metric").value) || {}).log; };
$("position").max = Math.max(0, positions.length - 1);
$("position").value = positions.length - 1;
$("position").addEventListener("input", ask);
$("play").addEventListener("click", () => {
  const on = !timer;
  if (on && +$("position").value >= positions.length - 1) goTo(0);
  play(on);
});
$("metric").addEventListener("change", () => { pickLog(); drawCurves(); ask(); });
$("log").addEventListener("change", () => { drawCurves(); ask(); });
if ($("all")) $("all").addEventListener("change", () => $("config").classList.toggle("all", $("all").checked));
for (const kind of ["pointerdown", "pointermove"]) $("curves").querySelector("svg").addEventListener(kind, follow);
if (data.real) $("real").src = data.real; else $("real-images").hidden = true;
for (const { image } of cards) image.addEventListener("load", sizeImages);
$("real").addEventListener("load", sizeImages);
new ResizeObserver(() => { sizeImages(); if ($("metric").value) drawCurves(); update(); }).observe(document.body);
if (!runs.some((run) => run.bands.length)) $("bands").hidden = true;
pickLog();
if ($("metric").value) drawCurves();
update();
