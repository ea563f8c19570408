"use strict";
// Three small charts over the last ten minutes: one line a camera.

const EVERY_MS = 2000;
const MOST_POINTS = 300;
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const DASHES = [[], [6, 4], [2, 3]];
const charts = { age: null, fps: null, drops: null };
let cameras = [];
let history = null;
let lostBefore = null;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function lost(stats) {
  return stats.frames_replaced + stats.frames_damaged + stats.faces_dropped + stats.faces_shed;
}

const UNITS = { age: " ms", fps: " /s", drops: " /s" };
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });

function options(place) {
  const font = "12px system-ui, sans-serif";
  const axis = { stroke: colour("--text-quiet"), font, grid: { stroke: colour("--edge"), width: 1 }, ticks: { show: false } };
  const series = cameras.map((name, index) => ({
    label: name,
    stroke: colour(COLOURS[index % COLOURS.length]),
    dash: DASHES[Math.floor(index / COLOURS.length) % DASHES.length],
    width: 1.6,
    points: { show: false },
  }));
  return {
    width: Math.max(200, place.clientWidth),
    height: 150,
    padding: [8, 30, 0, 0],
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] } },
    legend: { show: cameras.length > 1, live: false },
    axes: [{ ...axis, space: 110, size: 30, values: (_, ticks) => ticks.map((tick) => CLOCK.format(1000 * tick)) }, { ...axis, size: 44 }],
    series: [{ label: "Time" }, ...series],
  };
}

function build() {
  for (const kind of Object.keys(charts)) {
    const place = document.getElementById("chart-" + kind);
    if (charts[kind] !== null) charts[kind].destroy();
    charts[kind] = new uPlot(options(place), data(kind), place);
  }
}

function data(kind) {
  return [history.times, ...cameras.map((name) => history[kind].get(name))];
}

function begin(names) {
  cameras = names;
  const lines = () => new Map(names.map((name) => [name, []]));
  history = { times: [], age: lines(), fps: lines(), drops: lines() };
  lostBefore = null;
  build();
}

// The newest numbers in words: beside the chart, and as what a screen reader says of it.
function tellNow(kind, views) {
  const values = views.map((view) => [view.camera, history[kind].get(view.camera).at(-1)]).filter(([, value]) => value !== null && value !== undefined);
  const words = values.map(([name, value]) => `${name} ${value.toFixed(value < 10 ? 1 : 0)}${UNITS[kind]}`);
  document.getElementById("now-" + kind).textContent = views.length === 1 && values.length === 1 ? words[0].slice(views[0].camera.length + 1) : "";
  document.getElementById("chart-" + kind).setAttribute("aria-label", words.length ? "Now: " + words.join(", ") : "Nothing measured yet");
}

function append(views) {
  const now = Date.now() / 1000;
  const span = history.times.length ? now - history.times[history.times.length - 1] : 0;
  history.times.push(now);
  const lostNow = new Map(views.map((view) => [view.camera, lost(view.stats)]));
  for (const view of views) {
    history.age.get(view.camera).push(view.stats.frame_age_ms);
    history.fps.get(view.camera).push(view.fps);
    const before = lostBefore === null ? null : lostBefore.get(view.camera);
    history.drops.get(view.camera).push(before === null || span <= 0 ? null : Math.max(0, lostNow.get(view.camera) - before) / span);
  }
  lostBefore = lostNow;
  if (history.times.length > MOST_POINTS) {
    history.times.shift();
    for (const kind of Object.keys(charts)) for (const line of history[kind].values()) line.shift();
  }
  for (const kind of Object.keys(charts)) {
    charts[kind].setData(data(kind));
    tellNow(kind, views);
  }
}

async function look() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch("/api/v1/cameras");
  } catch {
    return;
  }
  if (!answer.ok) return;
  const views = await answer.json();
  const names = views.map((view) => view.camera);
  if (history === null || names.join(" ") !== cameras.join(" ")) {
    if (history !== null) location.reload();
    begin(names);
  }
  append(views);
}

let resizing = 0;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => { if (history !== null) build(); }, 200);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (history !== null) build(); });
look();
setInterval(look, EVERY_MS);
