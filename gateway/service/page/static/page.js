"use strict";
// Keeps the page fresh: events of the box wake the parts that htmx fetches again; times become the reader's own.

const AWAY_AFTER_MS = 12000;
const LISTEN_AGAIN_MS = 5000;
const LOST = "The box does not answer. What you see below is old; this page goes on trying.";
const TITLE = document.title;
let heardAt = Date.now();

function tell(name) {
  htmx.trigger(document.body, name);
}

function heard() {
  heardAt = Date.now();
}

function listen() {
  const events = new EventSource("/api/v1/events");
  let isFirst = true;
  events.addEventListener("open", () => {
    heard();
    // Whatever happened while nobody listened is asked for.
    if (!isFirst) for (const name of ["sg-alert", "sg-camera", "sg-stats", "sg-environment"]) tell(name);
    isFirst = false;
  });
  events.addEventListener("alert", (event) => {
    heard();
    announce(event.data);
    tell("sg-alert");
    tell("sg-camera");
  });
  events.addEventListener("camera", (event) => {
    heard();
    tell("sg-camera");
    tell("sg-camera-" + JSON.parse(event.data).camera);
  });
  events.addEventListener("environment", () => { heard(); tell("sg-environment"); });
  events.addEventListener("stats", () => { heard(); tell("sg-stats"); });
  // A browser connects again by itself, except where it was refused: too many pages are open, or the box is starting.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, LISTEN_AGAIN_MS);
  });
  window.addEventListener("pagehide", () => events.close());
}

// What a screen reader says: each new alert once, and nothing of what is merely drawn again.
function say(words) {
  document.getElementById("said").textContent = words;
}

function announce(text) {
  const data = JSON.parse(text).data;
  if (data && data.type === "new") say(`New alert, ${data.severity}: ${data.camera}`);
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function localTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const when = new Date(element.dateTime);
    const isToday = when.toDateString() === new Date().toDateString();
    element.textContent = (isToday ? SHORT : FULL).format(when);
    element.title = FULL.format(when);
  }
}

// What the reader has opened stays open when its part is fetched again.
const opened = new Set();

function reopen(root) {
  for (const element of root.querySelectorAll("details[id]")) {
    if (opened.has(element.id)) element.open = true;
  }
}

document.addEventListener("toggle", (event) => {
  if (event.target.id && event.target.isConnected) {
    if (event.target.open) opened.add(event.target.id);
    else opened.delete(event.target.id);
  }
}, true);

// The title tells what is wrong, so that it is seen while another tab is looked at.
function retitle() {
  const alarmed = document.querySelector("#health .pill")?.dataset.alarm;
  const isLost = !document.getElementById("lost").hidden;
  document.title = isLost ? `✕ No answer · ${TITLE}` : alarmed ? `▲ ${alarmed} · ${TITLE}` : TITLE;
}

// A part that came back as it was is left alone: what is read, selected or under the pointer stays as it is.
const shown = new Map();

document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { target, serverResponse, requestConfig } = event.detail;
  if (!target.id || event.detail.isError) return;
  if (requestConfig.verb === "get" && shown.get(target.id) === serverResponse) event.detail.shouldSwap = false;
  shown.set(target.id, serverResponse);
});

document.body.addEventListener("htmx:afterSwap", (event) => {
  reopen(event.detail.target);
  localTimes(event.detail.target);
  retitle();
});

function reasonIn(text) {
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return "too much is asked for";
  }
}

document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) {
    heard();
  } else if (event.detail.xhr && event.detail.xhr.status === 401) {
    location.assign("/login");
  } else if (event.detail.xhr && event.detail.xhr.status === 429) {
    say(`Try again in a moment: ${reasonIn(event.detail.xhr.responseText)}.`);
  }
});

document.getElementById("logout").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", headers: { "X-CSRF-Token": document.body.dataset.csrf }, redirect: "manual" });
  location.assign("/login");
});

setInterval(() => {
  const isLost = Date.now() - heardAt >= AWAY_AFTER_MS;
  const place = document.getElementById("lost");
  if (place.hidden === !isLost) return;
  place.hidden = !isLost;
  place.textContent = isLost ? LOST : "";
  document.body.classList.toggle("is-lost", isLost);
  retitle();
}, 1000);

localTimes(document);
retitle();
listen();
