// Warns before a sign-in ends for want of activity (WCAG 2.2.1). The server
// decides when; this only shows it.
const warnBefore = 60;
const dialog = document.getElementById("idle");
const body = document.body;
let ends = Date.parse(body.dataset.ends || "");
const skew = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
let asking = false;
let said = false;

// Every answer of the server tells when the sign-in ends now.
export function extended(at) {
  const t = Date.parse(at || "");
  if (!isNaN(t)) ends = t;
}
document.addEventListener("htmx:after:request", (e) => extended(e.detail.ctx?.response?.headers?.get("Holdfast-Session-Ends")));

async function ask(method) {
  if (asking) return;
  asking = true;
  try {
    const res = await fetch("/session", { method, headers: { Accept: "application/json" }, redirect: "manual", cache: "no-store" });
    if (res.status === 200) extended((await res.json()).ends);
    else if (res.status === 401 || res.type === "opaqueredirect") ends = 0;
  } catch {
    // Without a network nothing can be said; the countdown goes on.
  } finally {
    asking = false;
  }
}

async function tick() {
  let left = Math.round((ends - skew - Date.now()) / 1000);
  if (left <= 0) {
    // Another tab may have kept the sign-in alive: ask before leaving.
    await ask("GET");
    left = Math.round((ends - skew - Date.now()) / 1000);
    if (left <= 0) {
      location.assign("/sign-in?ended=1&next=" + encodeURIComponent(location.pathname + location.search));
      return;
    }
  }
  if (left <= warnBefore) {
    if (!dialog.open) {
      await ask("GET");
      if (Math.round((ends - skew - Date.now()) / 1000) > warnBefore) return;
      for (const menu of document.querySelectorAll("[popover]:popover-open")) menu.hidePopover();
      dialog.showModal();
      said = false;
    }
    dialog.querySelector("[data-idle-left]").textContent = left + (left === 1 ? " second" : " seconds");
    if (!said) {
      said = true;
      dialog.querySelector("[data-idle-say]").textContent = "You will be signed out in " + left + " seconds.";
    }
  } else if (dialog.open) dialog.close();
}

if (dialog && !isNaN(ends)) {
  setInterval(tick, 1000);
  dialog.querySelector("[data-idle-stay]").addEventListener("click", async () => {
    await ask("POST");
    dialog.close();
  });
  dialog.addEventListener("cancel", (e) => e.preventDefault());
}
