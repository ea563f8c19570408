"use strict";
// Keeps the page fresh: events of the box wake the parts that htmx fetches again; times become the reader's own.

const AWAY_AFTER_MS = 12000;
let heardAt = Date.now();

function tell(name) {
  htmx.trigger(document.body, name);
}

function listen() {
  const events = new EventSource("/api/v1/events");
  const heard = () => { heardAt = Date.now(); };
  events.addEventListener("open", heard);
  events.addEventListener("alert", () => { heard(); tell("sg-alert"); tell("sg-camera"); });
  events.addEventListener("camera", (event) => {
    heard();
    tell("sg-camera");
    tell("sg-camera-" + JSON.parse(event.data).camera);
  });
  events.addEventListener("environment", () => { heard(); tell("sg-environment"); });
  events.addEventListener("stats", () => { heard(); tell("sg-stats"); });
  window.addEventListener("pagehide", () => events.close());
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
    element.open = opened.has(element.id);
  }
}

document.addEventListener("toggle", (event) => {
  if (event.target.id && event.target.isConnected) {
    if (event.target.open) opened.add(event.target.id);
    else opened.delete(event.target.id);
  }
}, true);

document.body.addEventListener("htmx:afterSwap", (event) => {
  reopen(event.detail.target);
  localTimes(event.detail.target);
});

document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) {
    heardAt = Date.now();
  } else if (event.detail.xhr && event.detail.xhr.status === 401) {
    location.assign("/login");
  }
});

document.getElementById("logout").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", headers: { "X-CSRF-Token": document.body.dataset.csrf }, redirect: "manual" });
  location.assign("/login");
});

setInterval(() => {
  document.getElementById("lost").hidden = Date.now() - heardAt < AWAY_AFTER_MS;
}, 1000);

localTimes(document);
listen();
