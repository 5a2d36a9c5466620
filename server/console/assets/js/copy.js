import { on, say } from "./dom.js";

on("click", "[data-copy]", async (e, el) => {
  try {
    await navigator.clipboard.writeText(el.dataset.copy);
  } catch {
    say("The browser did not allow copying. Select the text instead.");
    return;
  }
  el.classList.add("copied");
  say("Copied.", "good");
  setTimeout(() => el.classList.remove("copied"), 1500);
});

on("click", "[data-print]", () => print());

// A text that is on the page, as a file.
on("click", "[data-save]", (e, el) => {
  const text = document.getElementById(el.dataset.save)?.innerText;
  if (!text) return;
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([text + "\n"], { type: "text/plain" }));
  a.download = el.dataset.name || "holdfast.txt";
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
});
