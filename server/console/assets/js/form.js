import { on } from "./dom.js";

// The browser's own word for a wrong pattern says nothing; the field's does.
on("invalid", "[data-wrong]", (e, el) => {
  el.setCustomValidity(el.validity.patternMismatch ? el.dataset.wrong : "");
}, true);
on("input", "input, textarea, select", (e, el) => {
  if (el.dataset.wrong) el.setCustomValidity("");
  const error = el.id && document.getElementById(el.id + "-error");
  if (error && error.textContent) {
    error.textContent = "";
    el.removeAttribute("aria-invalid");
  }
});

// Errors of fields come beside the form's answer: mark what they belong to, and
// lead to the first.
document.addEventListener("htmx:after:swap", (e) => {
  const source = e.detail.ctx?.sourceElement;
  if (!(source instanceof HTMLFormElement) || !(e.detail.ctx.response?.status >= 400)) return;
  let first = null;
  for (const error of source.querySelectorAll(".field-error")) {
    const field = document.getElementById(error.id.replace(/-error$/, ""));
    if (!field) continue;
    field.toggleAttribute("aria-invalid", false);
    if (error.textContent) {
      field.setAttribute("aria-invalid", "true");
      first ??= field;
    }
  }
  (first ?? source.querySelector(".form-problem"))?.focus();
});
document.addEventListener("htmx:before:request", (e) => {
  const source = e.detail.ctx?.sourceElement;
  if (source instanceof HTMLFormElement && source.classList.contains("form")) {
    for (const error of source.querySelectorAll(".field-error")) error.textContent = "";
  }
});

on("click", "[data-reveal]", (e, el) => {
  const input = document.getElementById(el.dataset.reveal);
  const shown = input.type === "text";
  input.type = shown ? "password" : "text";
  el.setAttribute("aria-pressed", String(!shown));
});
// What was shown is hidden again before it is sent, so that no browser keeps it.
on("submit", "form", (e, form) => {
  for (const b of form.querySelectorAll('[data-reveal][aria-pressed="true"]')) b.click();
}, true);
