"use strict";
// Shows the cameras that are in view, all through one connection: a line of JSON, then that many bytes of JPEG.

const AGAIN_MS = 2000;
const STALE_MS = 5000;
const inView = new Set();
const shownAt = new Map();
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

function show(head, jpeg) {
  const tile = document.getElementById("tile-" + head.camera);
  if (tile === null) return;
  const image = tile.querySelector("img");
  const before = image.src;
  image.src = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  image.hidden = false;
  image.alt = "Live picture of " + head.camera;
  tile.querySelector(".picture-none").hidden = true;
  draw(tile.querySelector(".boxes"), head);
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  shownAt.set(head.camera, Date.now());
}

function draw(drawing, head) {
  const boxes = [];
  if (head.frame) {
    drawing.setAttribute("viewBox", `0 0 ${head.frame[0]} ${head.frame[1]}`);
    for (const [x1, y1, x2, y2, isTriggered] of head.faces) {
      const box = document.createElementNS(drawing.namespaceURI, "rect");
      box.setAttribute("class", isTriggered ? "face face-triggered" : "face");
      box.setAttribute("x", x1);
      box.setAttribute("y", y1);
      box.setAttribute("width", x2 - x1);
      box.setAttribute("height", y2 - y1);
      boxes.push(box);
    }
  }
  drawing.replaceChildren(...boxes);
}

// An old picture must never pass for what happens now.
function fade() {
  for (const tile of document.querySelectorAll(".tile")) {
    const name = tile.dataset.camera;
    if (shownAt.has(name) && Date.now() - shownAt.get(name) > STALE_MS) {
      const image = tile.querySelector("img");
      if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
      image.removeAttribute("src");
      image.hidden = true;
      tile.querySelector(".boxes").replaceChildren();
      const none = tile.querySelector(".picture-none");
      none.textContent = "No picture now";
      none.hidden = false;
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
