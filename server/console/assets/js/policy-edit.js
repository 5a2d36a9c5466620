// The editor of manifests: line numbers beside the text, and links from problems to
// their lines. Without scripts the numbers are those the page came with.
import { each, on } from "./dom.js";

each("[data-editor]", (box) => {
  const gutter = box.querySelector("[data-gutter]");
  const text = box.querySelector("textarea");
  const number = () => {
    const lines = text.value.split("\n").length;
    while (gutter.childElementCount > lines) gutter.lastElementChild.remove();
    while (gutter.childElementCount < lines) {
      const span = document.createElement("span");
      span.textContent = String(gutter.childElementCount + 1);
      gutter.append(span);
    }
  };
  const follow = () => { gutter.scrollTop = text.scrollTop; };
  text.addEventListener("input", number);
  text.addEventListener("scroll", follow, { passive: true });
  number();
  follow();
});

// A problem leads to its line: it is selected, and in sight.
on("click", "a[data-line]", (e, link) => {
  const text = document.getElementById(link.hash.slice(1));
  if (!text) return;
  e.preventDefault();
  text.closest("details").open = true;
  const lines = text.value.split("\n");
  const line = Math.min(Number(link.dataset.line), lines.length);
  const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  text.focus();
  text.setSelectionRange(start, start + lines[line - 1].length);
  text.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(text).lineHeight));
  text.scrollIntoView({ block: "center" });
});
