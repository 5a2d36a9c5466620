import { each, on } from "./dom.js";

on("click", "[data-opens]", (e, el) => {
  const dialog = document.getElementById(el.dataset.opens);
  if (dialog && !dialog.open) dialog.showModal();
});
on("click", "[data-close]", (e, el) => el.closest("dialog")?.close());

// A click beside a dialog closes it, unless something was typed in it.
on("click", "dialog", (e, el) => {
  if (e.target !== el || el.hasAttribute("data-idle")) return;
  const box = el.getBoundingClientRect();
  const beside = e.clientX < box.left || e.clientX > box.right || e.clientY < box.top || e.clientY > box.bottom;
  const typed = [...el.querySelectorAll("input:not([type=hidden]), textarea")].some((f) => f.value !== f.defaultValue);
  if (beside && !typed) el.close();
});

// Dialogs that the server sent open at once, and leave the page when closed.
each("#dialogs dialog[data-open]", (dialog) => {
  for (const menu of document.querySelectorAll("[popover]:popover-open")) menu.hidePopover();
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.remove());
});

// Menus open below the button that opens them, inside of the window.
document.addEventListener("toggle", (e) => {
  const menu = e.target;
  if (e.newState !== "open" || !(menu instanceof HTMLElement) || !menu.matches(".menu:not(.menu-account)")) return;
  const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
  if (!button) return;
  const at = button.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - menu.offsetWidth - 8);
  const below = at.bottom + 4 + menu.offsetHeight <= innerHeight;
  menu.style.left = Math.max(8, at.width > 60 ? left : at.right - menu.offsetWidth) + "px";
  menu.style.top = (below ? at.bottom + 4 : Math.max(8, at.top - menu.offsetHeight - 4)) + "px";
}, true);
