import { on } from "./dom.js";

const root = document.documentElement;
root.classList.add("scripted");

export function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = dark ? "light" : "dark";
  root.dataset.theme = theme;
  document.cookie = "__Host-holdfast-theme=" + theme + "; Path=/; Secure; SameSite=Lax; Max-Age=31536000";
  document.dispatchEvent(new CustomEvent("holdfast:theme"));
}

on("click", "[data-theme-switch]", (e) => {
  e.preventDefault();
  switchTheme();
});
