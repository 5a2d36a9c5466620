import { switchTheme } from "./theme.js";

let leader = 0;

function move(step) {
  const rows = [...document.querySelectorAll("tr[data-row] .row-link")];
  if (rows.length === 0) return;
  const at = rows.indexOf(document.activeElement?.closest("tr")?.querySelector(".row-link"));
  rows[Math.max(0, Math.min(rows.length - 1, at + step))].focus();
}

document.addEventListener("keydown", (e) => {
  const typing = e.target instanceof Element && e.target.closest("input, textarea, select, [contenteditable]");
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || typing || document.querySelector("dialog[open]")) return;
  if (leader && Date.now() - leader < 1500) {
    leader = 0;
    const link = document.querySelector(`.nav [data-key="${CSS.escape(e.key)}"]`);
    if (link) {
      e.preventDefault();
      link.click();
    }
    return;
  }
  switch (e.key) {
    case "/":
      e.preventDefault();
      (document.querySelector(".filter-search input") ?? document.querySelector("[data-slash]"))?.focus();
      break;
    case "?":
      document.getElementById("keys")?.showModal();
      break;
    case "g":
      leader = Date.now();
      break;
    case "j":
      move(1);
      break;
    case "k":
      move(-1);
      break;
    case "t":
      switchTheme();
      break;
  }
});
