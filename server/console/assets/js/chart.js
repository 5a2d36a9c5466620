import { each } from "./dom.js";

// Draws charts from the data beside them. The library is fetched on the first
// page that has one.
let library;
function uPlot() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("../vendor/uplot/uPlot.iife.min.js", import.meta.url);
    script.onload = () => resolve(window.uPlot);
    script.onerror = reject;
    document.head.append(script);
  });
  return library;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function colour(tone, i) {
  return tone === "neutral" ? css("--series-" + (i % 6)) : css("--" + tone + "-mark");
}

function alpha(c, a) {
  return /^#[0-9a-f]{6}$/i.test(c) ? c + Math.round(a * 255).toString(16).padStart(2, "0") : c;
}

function short(v) {
  if (v == null) return "–";
  const a = Math.abs(v);
  if (a >= 1e6) return (v / 1e6).toFixed(a >= 1e7 ? 0 : 1) + " M";
  if (a >= 1e4) return (v / 1e3).toFixed(0) + " k";
  if (a >= 100 || Number.isInteger(v)) return String(Math.round(v));
  return v.toFixed(a < 1 ? 2 : 1);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

function stacked(values) {
  const sums = values.map((v) => v.slice());
  for (let i = sums.length - 2; i >= 0; i--) sums[i] = sums[i].map((v, k) => (v ?? 0) + (sums[i + 1][k] ?? 0));
  return sums;
}

function tip(data) {
  const box = document.createElement("div");
  box.className = "u-tip";
  const when = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });
  return {
    hooks: {
      init: (u) => u.over.append(box),
      setCursor: (u) => {
        const { idx, left } = u.cursor;
        box.classList.toggle("on", idx != null && left >= 0);
        if (idx == null) return;
        const lines = [when.format(new Date(data.times[idx] * 1000))];
        data.labels.forEach((l, i) => lines.push(l + "  " + short(data.values[i][idx]) + (data.unit ? " " + data.unit : "")));
        box.replaceChildren(...lines.map((t) => Object.assign(document.createElement("div"), { textContent: t })));
        const right = left > u.over.clientWidth / 2;
        box.style.left = right ? "auto" : left + 12 + "px";
        box.style.right = right ? u.over.clientWidth - left + 12 + "px" : "auto";
        box.style.top = "4px";
      },
    },
  };
}

function options(data, width) {
  const axis = { stroke: css("--muted"), font: "11px " + css("--sans"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
  return {
    width, height: data.height, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (u, min, max) => [Math.min(0, min ?? 0), max > 0 ? max * 1.08 : 1] } },
    axes: [{ ...axis, size: 24, gap: 4, space: 70, values: (u, at, i, space, step) => at.map((t) => (step >= 86400 ? day : clock).format(new Date(t * 1000))) }, { ...axis, size: 44, gap: 6, space: 34, values: (u, vs) => vs.map(short) }],
    series: [{}, ...data.labels.map((label, i) => {
      const c = colour(data.tones[i], i);
      return { label, stroke: c, width: 1.75, fill: data.stack || data.labels.length === 1 ? alpha(c, data.stack ? 0.35 : 0.12) : undefined, points: { show: false } };
    })],
    plugins: [tip(data)],
  };
}

async function draw(figure) {
  const host = figure.querySelector(".chart-host");
  if (!host) return;
  const Plot = await uPlot();
  let plot = null;
  let text = "";
  const make = () => {
    const island = figure.querySelector('script[type="application/json"]');
    const width = host.clientWidth;
    if (!island || width === 0) return;
    text = island.textContent;
    const data = JSON.parse(text);
    plot?.destroy();
    host.replaceChildren();
    plot = new Plot(options(data, width), [data.times, ...(data.stack ? stacked(data.values) : data.values)], host);
  };
  make();
  new ResizeObserver(() => {
    if (plot && host.clientWidth && plot.width !== host.clientWidth) plot.setSize({ width: host.clientWidth, height: plot.height });
    else if (!plot) make();
  }).observe(host);
  new MutationObserver(() => {
    if (figure.querySelector('script[type="application/json"]')?.textContent !== text) make();
  }).observe(figure, { childList: true, subtree: true, characterData: true });
  document.addEventListener("holdfast:theme", make);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", make);
}

each("[data-chart]", (figure) => draw(figure));
