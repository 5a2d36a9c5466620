// Messages as they pass: one stream, started and stopped by hand. What comes is HTML
// that the server wrote and escaped; it is put in place, and old rows are taken away.
import { on } from "./dom.js";

const page = document.querySelector("[data-tap]");
const part = (name) => page.querySelector("[data-tap-" + name + "]");
const kept = Number(page.dataset.kept);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });

let source = null;
let paused = false;
let held = []; // rows that came while it was paused
let seen = 0;
let over = 0;

const count = (n, one, many) => n.toLocaleString("en").replaceAll(",", "\u202f") + " " + (n === 1 ? one : many);

function say(text) {
  part("state").textContent = text;
}

// parsed is what the server wrote; nothing in a parsed document runs.
const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body;

function rowsOf(html) {
  const body = parsed(html);
  for (const time of body.querySelectorAll("time")) time.textContent = clock.format(new Date(time.dateTime));
  return [...body.children];
}

// still tells whether the reader looks at something: then nothing may move.
function still() {
  return paused || part("scroll").scrollTop > 8 || part("list").querySelector("details[open]") !== null;
}

function put(rows) {
  const list = part("list");
  list.prepend(...rows);
  while (list.childElementCount > kept) list.lastElementChild.remove();
  part("empty").hidden = list.childElementCount > 0;
}

function tell() {
  const button = part("new");
  button.hidden = held.length === 0;
  button.textContent = held.length >= kept ? "Show the newest " + kept + " messages" : "Show " + count(held.length, "new message", "new messages");
  part("clear").hidden = part("list").childElementCount === 0;
  part("over").hidden = over === 0;
  part("over").textContent = count(over, "message", "messages") + " came too fast to be shown. Choose a narrower filter to see each of them.";
  if (source) say((paused ? "Paused, " : "Watching, ") + count(seen, "message", "messages"));
}

function release() {
  const rows = held;
  held = [];
  put(rows);
  part("scroll").scrollTop = 0;
  tell();
}

function messages(e) {
  const rows = rowsOf(e.data);
  seen += rows.length;
  if (still() || held.length > 0) held = rows.concat(held).slice(0, kept);
  else put(rows);
  tell();
}

function end(text) {
  source?.close();
  source = null;
  paused = false;
  part("start").hidden = false;
  part("stop").hidden = true;
  part("pause").hidden = true;
  if (held.length > 0 && !still()) release();
  say(text);
}

function begin() {
  part("problem").replaceChildren();
  seen = 0;
  over = 0;
  source = new EventSource(page.dataset.stream);
  part("start").hidden = true;
  part("stop").hidden = false;
  say("Connecting");
  source.addEventListener("begun", () => {
    part("pause").hidden = false;
    part("pause").lastElementChild.textContent = "Pause";
    say("Watching");
  });
  source.addEventListener("messages", messages);
  source.addEventListener("over", (e) => {
    over += Number(e.data);
    tell();
  });
  source.addEventListener("problem", (e) => {
    end("Not watching");
    part("problem").replaceChildren(...parsed(e.data).children);
  });
  source.addEventListener("ended", (e) => end(e.data ? "Ended: " + e.data : "Ended"));
  // It does not start again by itself: each beginning is recorded in somebody's name.
  source.onerror = () => {
    if (source) end("The connection was lost");
  };
  history.replaceState(null, "", page.dataset.stream.replace("/stream", ""));
}

on("submit", "#tap", (e, form) => {
  e.preventDefault();
  const values = [...new FormData(form)].filter(([, v]) => v !== "");
  page.dataset.stream = "/messages/tap/stream?" + new URLSearchParams(values);
  if (source) end("Not watching");
  begin();
  part("stop").focus();
});
on("click", "[data-tap-stop]", () => {
  end("Stopped after " + count(seen, "message", "messages"));
  part("start").focus();
});
on("click", "[data-tap-pause]", (e, button) => {
  paused = !paused;
  button.lastElementChild.textContent = paused ? "Go on" : "Pause";
  if (!paused) release();
  tell();
});
on("click", "[data-tap-new]", () => {
  for (const open of part("list").querySelectorAll("details[open]")) open.open = false;
  release();
});
on("click", "[data-tap-clear]", () => {
  held = [];
  part("list").replaceChildren();
  part("empty").hidden = false;
  tell();
});
// Who scrolled back to the top sees what is new.
part("scroll").addEventListener("scroll", () => {
  if (held.length > 0 && !still()) release();
}, { passive: true });
addEventListener("pagehide", () => source?.close());
