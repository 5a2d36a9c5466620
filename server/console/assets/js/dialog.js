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
function place(menu) {
  const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
  if (!button) return;
  const at = button.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - menu.offsetWidth - 8);
  const below = at.bottom + 4 + menu.offsetHeight <= innerHeight;
  menu.style.left = Math.max(8, at.width > 60 ? left : at.right - menu.offsetWidth) + "px";
  menu.style.top = (below ? at.bottom + 4 : Math.max(8, at.top - menu.offsetHeight - 4)) + "px";
}
const placed = ".menu:not(.menu-account)";
document.addEventListener("toggle", (e) => {
  if (e.newState === "open" && e.target instanceof HTMLElement && e.target.matches(placed)) place(e.target);
}, true);

// A menu in a part of the page that is replaced stays open, with the focus where it
// was. Its place is taken away before: the attribute would be copied to the new
// part, which the content security policy forbids.
let open = null;
document.addEventListener("htmx:before:swap", () => {
  const menu = document.querySelector(placed + ":popover-open");
  open = menu && { menu, focus: menu.contains(document.activeElement) ? document.activeElement.id : "" };
  for (const m of document.querySelectorAll(placed + "[style]")) m.removeAttribute("style");
});
document.addEventListener("htmx:after:swap", () => {
  if (!open) return;
  const menu = open.menu.isConnected ? open.menu : document.getElementById(open.menu.id);
  if (menu && menu !== open.menu) menu.showPopover();
  if (menu?.matches(":popover-open")) {
    place(menu);
    if (open.focus) document.getElementById(open.focus)?.focus();
  }
  open = null;
});
