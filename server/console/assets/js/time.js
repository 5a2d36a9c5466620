import { each } from "./dom.js";

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
// The viewer's clock may be wrong; the server said what time it is.
const skew = document.body.dataset.now ? Date.parse(document.body.dataset.now) - Date.now() : 0;

// The same words as ui.Span on the server.
function span(s) {
  const n = (x, one, many) => (Math.floor(x) === 1 ? "1 " + one : Math.floor(x) + " " + many);
  if (s < 60) return n(s, "s", "s");
  if (s < 3600) return n(s / 60, "min", "min");
  if (s < 48 * 3600) return n(s / 3600, "h", "h");
  const days = s / 86400;
  if (days < 60) return n(days, "day", "days");
  if (days < 730) return n(days / 30.44, "month", "months");
  return n(days / 365.25, "year", "years");
}

function write(el) {
  const at = new Date(el.dateTime);
  if (isNaN(at)) return;
  const d = (Date.now() + skew - at) / 1000;
  const text = Math.abs(d) < 5 ? "now" : d < 0 ? "in " + span(-d) : span(d) + " ago";
  if (el.textContent !== text) el.textContent = text;
}

each("time[data-ago]", (el) => {
  const at = new Date(el.dateTime);
  if (!isNaN(at)) el.title = full.format(at);
});
each("time[data-exact]", (el) => {
  const at = new Date(el.dateTime);
  if (isNaN(at)) return;
  el.title = el.title || at.toISOString();
  el.textContent = exact.format(at);
});
setInterval(() => document.querySelectorAll("time[data-ago]").forEach(write), 10000);
