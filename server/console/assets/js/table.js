import { on } from "./dom.js";

// Addresses of tables hold only what differs from the default.
document.addEventListener("htmx:config:request", (e) => {
  const form = e.detail.ctx?.sourceElement;
  if (!(form instanceof HTMLFormElement) || !form.hasAttribute("data-filters")) return;
  const body = e.detail.ctx.request.body;
  for (const [name, value] of [...body]) if (value === "") body.delete(name);
  const boxes = [...form.querySelectorAll('input[name="cols"]')];
  if (boxes.every((b) => b.checked === b.hasAttribute("data-default"))) body.delete("cols");
  else {
    const keys = body.getAll("cols");
    body.delete("cols");
    body.append("cols", keys.join(","));
  }
  if (body.get("limit") === "50") body.delete("limit");
  const url = new URL(e.detail.ctx.request.action, location.href);
  e.detail.ctx.request.action = url.pathname;
});

function count(table) {
  const bulk = table?.querySelector("[data-bulk]");
  if (!bulk) return;
  const ticks = [...table.querySelectorAll("[data-tick]")];
  const n = ticks.filter((t) => t.checked).length;
  bulk.hidden = n === 0;
  table.querySelector("[data-bulk-count]").textContent = n + " chosen";
  const all = table.querySelector("[data-tick-all]");
  all.checked = n > 0 && n === ticks.length;
  all.indeterminate = n > 0 && n < ticks.length;
}
on("change", "[data-tick]", (e, el) => count(el.closest("[data-table]")));
on("change", "[data-tick-all]", (e, el) => {
  const table = el.closest("[data-table]");
  for (const t of table.querySelectorAll("[data-tick]")) t.checked = el.checked;
  count(table);
});
