import { each, on } from "./dom.js";

on("click", "[data-dismiss]", (e, el) => el.closest("[data-toast]")?.remove());

// Good news goes by itself; the rest stays until it was read (WCAG 2.2.1).
each("[data-toast]", (toast) => {
  if (!toast.matches(".tone-good, .tone-info")) return;
  let timer = 0;
  const start = () => { timer = setTimeout(() => toast.remove(), 7000); };
  toast.addEventListener("pointerenter", () => clearTimeout(timer));
  toast.addEventListener("pointerleave", start);
  start();
});

document.addEventListener("htmx:error", (e) => {
  const ctx = e.detail.ctx;
  if (ctx?.sourceElement?.id === "live" || e.detail.error?.name === "AbortError") return;
  import("./dom.js").then((d) => d.say("The server could not be reached. What you did may not have arrived."));
});
