"use strict";
// Shows the cameras that are in view, all through one connection: a line of JSON, then that many bytes of JPEG.

const AGAIN_MS = 2000;
const STALE_MS = 5000;
const inView = new Set();
const shownAt = new Map();
const newest = new Map();
let streaming = null;
let isDue = false;

function wanted() {
  if (document.hidden) return [];
  return [...inView].filter((name) => {
    const head = document.querySelector(`#camera-${CSS.escape(name)} .tile-head`);
    return head !== null && head.dataset.watch === "yes";
  }).sort();
}

function restart() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => { isDue = false; watch(); }, 150);
}

async function watch() {
  const names = wanted();
  const key = names.join(" ");
  if (streaming !== null) {
    if (streaming.key === key) return;
    streaming.control.abort();
    streaming = null;
  }
  if (names.length === 0) return;
  const mine = { key, control: new AbortController() };
  streaming = mine;
  const query = names.map((name) => "camera=" + encodeURIComponent(name)).join("&");
  try {
    const answer = await fetch("/page/pictures?" + query, { signal: mine.control.signal });
    if (answer.ok) await readAll(answer.body.getReader());
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof TypeError)) throw error;
  } finally {
    if (streaming === mine) {
      streaming = null;
      setTimeout(restart, AGAIN_MS);
    }
  }
}

async function readAll(reader) {
  let rest = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(rest.length + value.length);
    joined.set(rest);
    joined.set(value, rest.length);
    rest = takeAll(joined);
  }
}

function takeAll(bytes) {
  for (;;) {
    const end = bytes.indexOf(10);
    if (end < 0) return bytes;
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    if (bytes.length < end + 1 + head.bytes) return bytes;
    show(head, bytes.slice(end + 1, end + 1 + head.bytes));
    bytes = bytes.slice(end + 1 + head.bytes);
  }
}

// A picture and its boxes change together, once the picture is decoded: the boxes are those of this very frame.
function show(head, jpeg) {
  const tile = document.getElementById("tile-" + head.camera);
  if (tile === null) return;
  const number = (newest.get(head.camera) ?? 0) + 1;
  newest.set(head.camera, number);
  const image = new Image();
  image.alt = `Live picture of ${head.camera}${inWords(head.faces ?? [])}`;
  const url = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  image.onerror = () => URL.revokeObjectURL(url);
  image.onload = () => {
    URL.revokeObjectURL(url);
    if (newest.get(head.camera) !== number) return;
    tile.querySelector("img").replaceWith(image);
    tile.querySelector(".picture-none").hidden = true;
    draw(tile.querySelector(".boxes"), head);
    shownAt.set(head.camera, Date.now());
  };
  image.src = url;
}

function inWords(faces) {
  const counts = new Map();
  for (const face of faces) counts.set(face[4], (counts.get(face[4]) ?? 0) + 1);
  const words = [...counts].map(([standing, count]) => `${count} ${standing}`);
  return words.length ? ": " + words.join(", ") : ", no face";
}

const LABEL_PX = 12;

function part(drawing, kind, name, values) {
  const made = document.createElementNS(drawing.namespaceURI, kind);
  made.setAttribute("class", name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  return made;
}

// The word stands at every box, so that nobody has to tell colours apart.
function draw(drawing, head) {
  const parts = [];
  if (head.frame) {
    const [width, height] = head.frame;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const place = drawing.getBoundingClientRect();
    const unit = Math.max(width / Math.max(1, place.width), height / Math.max(1, place.height));
    const size = LABEL_PX * unit;
    for (const [x1, y1, x2, y2, standing] of head.faces) {
      const box = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
      parts.push(part(drawing, "rect", "halo", box), part(drawing, "rect", "face face-" + standing, box));
      const top = y1 > 1.6 * size ? y1 - 1.5 * size : Math.min(y2 + 0.2 * size, height - 1.4 * size);
      const wide = (0.62 * standing.length + 0.9) * size;
      const left = Math.max(0, Math.min(x1 - unit, width - wide));
      parts.push(part(drawing, "rect", "tag tag-" + standing, { x: left, y: top, width: wide, height: 1.4 * size, rx: 0.25 * size }));
      const word = part(drawing, "text", "word word-" + standing, { x: left + 0.45 * size, y: top + size * 1.02, "font-size": size });
      word.textContent = standing;
      parts.push(word);
    }
  }
  drawing.replaceChildren(...parts);
}

// An old picture must never pass for what happens now.
function fade() {
  for (const tile of document.querySelectorAll(".tile")) {
    const name = tile.dataset.camera;
    if (shownAt.has(name) && Date.now() - shownAt.get(name) > STALE_MS) {
      const none = new Image();
      none.alt = "";
      none.hidden = true;
      tile.querySelector("img").replaceWith(none);
      tile.querySelector(".boxes").replaceChildren();
      const words = tile.querySelector(".picture-none");
      words.textContent = "No picture now";
      words.hidden = false;
      shownAt.delete(name);
    }
  }
}

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) inView.add(entry.target.dataset.camera);
    else inView.delete(entry.target.dataset.camera);
  }
  restart();
}, { rootMargin: "100px" });

for (const tile of document.querySelectorAll(".tile")) observer.observe(tile);
document.addEventListener("visibilitychange", restart);
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.classList.contains("tile-text")) restart();
});
setInterval(fade, 1000);
