import { on } from "./dom.js";

// Explanations stay inside of the window, and Escape puts them away (WCAG 1.4.13).
function place(hint) {
  const text = hint.querySelector(".hint-text");
  hint.classList.remove("hint-left", "hint-right", "hint-below", "dismissed");
  const at = hint.getBoundingClientRect();
  const w = text.offsetWidth / 2;
  if (at.left + w + 8 > innerWidth) hint.classList.add("hint-left");
  else if (at.left - w < 8) hint.classList.add("hint-right");
  const clip = hint.closest(".table-scroll, .card-flush")?.getBoundingClientRect().top ?? 0;
  if (at.top - text.offsetHeight - 12 < Math.max(60, clip)) hint.classList.add("hint-below");
}
on("pointerover", ".hint", (e, el) => place(el));
on("focusin", ".hint", (e, el) => place(el));
on("click", "[data-hint]", (e, el) => {
  el.classList.toggle("open");
  place(el.parentElement);
});
on("focusout", "[data-hint]", (e, el) => el.classList.remove("open"));
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") document.querySelectorAll(".hint:hover, .hint:focus-within").forEach((h) => h.classList.add("dismissed"));
});
