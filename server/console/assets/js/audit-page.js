// The button "Verify in this browser": fetches what is to be checked, shows each
// step of audit-verify.js with its values, and remembers key and largest
// checkpoint, so that a log that was changed, cut back or exchanged is found out.
import { verify, verifyState } from "./audit-verify.js";
import { on } from "./dom.js";

const memory = "holdfast-audit";

function remembered() {
  try {
    const kept = JSON.parse(localStorage.getItem(memory));
    return kept?.format === 1 && typeof kept.key === "string" && typeof kept.checkpoint === "string" ? kept : null;
  } catch {
    return null;
  }
}

function keep(value) {
  try {
    localStorage.setItem(memory, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function el(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

const number = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function showMemory(box) {
  const kept = remembered();
  box.querySelector("[data-audit-memory]").textContent = kept ? "This browser remembers the log at " + number(kept.size) + " entries, since " + date.format(new Date(kept.seen)) + "." : "This browser has not seen this log before.";
  box.querySelector("[data-audit-forget]").hidden = !kept;
}

// values are the lines below a step: what was compared.
function values(step) {
  const v = step.values || {};
  const list = el("dl", "audit-values");
  const line = (term, text, plain) => {
    const row = el("div");
    const dd = el("dd");
    dd.append(el(plain ? "span" : "code", "", text));
    row.append(el("dt", "", term), dd);
    list.append(row);
  };
  if (v.bytes !== undefined) line("Bytes of the event", String(v.bytes), true);
  if (v.hash) line("SHA-256 of 0x00 and the bytes", v.hash);
  for (const [i, s] of (v.way || []).entries()) {
    const span = s.to - s.from === 1 ? "entry " + number(s.from) : "entries " + number(s.from) + " – " + number(s.to - 1);
    line("With " + span + ", " + s.side, s.beside);
    line("gives, step " + (i + 1), s.hash);
  }
  if (v.origin) line("Log", v.origin);
  if (v.size !== undefined && v.before === undefined) line("Entries", number(v.size), true);
  if (v.root) line("Root", v.root);
  if (v.key) line("Public key", v.key);
  if (v.signature) line("Signature, Ed25519", v.signature);
  for (const w of v.words || []) line(w.witness, date.format(new Date(w.at)), true);
  if (v.before !== undefined) line("Then", number(v.before) + " entries, seen " + date.format(new Date(v.seen)), true);
  if (v.before !== undefined) line("Now", number(v.size) + " entries", true);
  if (v.hashes) line("Hashes that prove it", String(v.hashes), true);
  return list.childElementCount > 0 ? list : null;
}

function showStep(list, step) {
  const item = el("li", "audit-step tone-" + (step.ok ? "good" : step.open ? "warn" : "bad"));
  item.dataset.step = step.name;
  item.dataset.ok = String(step.ok);
  const mark = el("span", "audit-mark");
  mark.setAttribute("aria-hidden", "true");
  mark.textContent = step.ok ? "✓" : step.open ? "?" : "✕";
  const body = el("div");
  const state = el("span", "sr-only", step.ok ? "Passed: " : step.open ? "Open: " : "Failed: ");
  const lines = values(step);
  if (lines) {
    const fold = el("details");
    const head = el("summary");
    head.append(state, step.title);
    fold.append(head, lines);
    body.append(fold);
  } else {
    const p = el("p");
    p.append(state, step.title);
    body.append(p);
  }
  if (step.fault) body.append(el("p", "audit-fault", step.fault));
  item.append(mark, body);
  list.append(item);
}

function callout(tone, title, ...texts) {
  const box = el("div", "callout tone-" + tone);
  box.setAttribute("role", tone === "bad" ? "alert" : "status");
  const body = el("div");
  body.append(el("p", "callout-title", title), ...texts.map((t) => el("p", "", t)));
  box.append(body);
  return box;
}

// evidence is both signed states: with them, anybody can see that the log's key
// signed what contradicts itself.
function evidence(conflict) {
  const button = el("button", "button", "Save the evidence");
  button.type = "button";
  button.addEventListener("click", () => {
    const a = document.createElement("a");
    const file = { format: "holdfast-audit-conflict/1", found: new Date().toISOString(), before: conflict.remembered, now: { key: conflict.key, checkpoint: conflict.checkpoint } };
    a.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], { type: "application/json" }));
    a.download = "holdfast-audit-conflict.json";
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 10000);
  });
  return button;
}

const shouts = {
  "key-changed": ["The log’s key has changed", "What this server shows now is signed by another key than the one that this browser saw before. Unless the installation was set up anew, somebody replaced the log."],
  shrunk: ["The log has become shorter", "Entries that this browser saw the log sign for are gone. A database was restored from an older copy, or somebody took entries out."],
  history: ["The log’s history was rewritten", "What the log shows now does not continue what it signed before. Somebody changed entries, or the log shows different people different histories."],
};

function showResult(box, result, data) {
  const out = box.querySelector("[data-audit-result]");
  const what = data.shown ? "entry " + number(data.shown.index) : "the log";
  box.dataset.result = result.ok ? "ok" : result.kind;
  if (result.ok) {
    const texts = [data.shown ? "These very bytes are in a state of the log of " + number(result.checkpoint.size) + " entries that its key signed." : "Its key signed the state of " + number(result.checkpoint.size) + " entries."];
    texts.push(result.first ? "It is the first time that this browser sees this log: compare the key with one that you know from elsewhere." : "It continues what this browser saw before.");
    texts.push("This check is as honest as the script that this server sent you. To depend on no server at all, run the command " + (data.shown ? "below" : "on this page") + " with a key that you kept.");
    out.replaceChildren(callout("good", "Verified: " + (data.shown ? what + " is in the log, unchanged" : what + " is signed, and has only grown"), ...texts));
  } else if (shouts[result.kind] && result.conflict) {
    const [title, text] = shouts[result.kind];
    const c = callout("bad", title, text, "Do not clear this browser’s data. Save the evidence, tell whoever answers for security, and make no further changes until it is explained.");
    c.firstChild.append(evidence(result.conflict));
    out.replaceChildren(c);
  } else if (result.kind === "browser") {
    out.replaceChildren(callout("warn", "Not fully checked", "This browser cannot check the signature. Use the command instead."));
  } else if (["unreachable", "memory", "fetch"].includes(result.kind)) {
    out.replaceChildren(callout("warn", "Not checked", result.kind === "fetch" ? "The server did not send what is to be checked. Try again." : "See the last step."));
  } else {
    out.replaceChildren(callout("bad", "Not verified: " + what + " failed a check", "Do not rely on it. Keep what you see, and compare with an export that was made earlier or elsewhere."));
  }
}

async function fetchText(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json, text/plain" }, cache: "no-store", redirect: "error" });
  if (!answer.ok) throw new Error("status " + answer.status);
  return answer.text();
}

async function check(box, button) {
  const data = JSON.parse(box.querySelector("#audit-data").textContent);
  const steps = box.querySelector("[data-audit-steps]");
  steps.replaceChildren();
  box.querySelector("[data-audit-result]").replaceChildren();
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  const step = (s) => showStep(steps, s);
  const consistency = async (old, size) => {
    try {
      return JSON.parse(await fetchText(data.consistency + "?old=" + old + "&size=" + size)).proof;
    } catch {
      return null;
    }
  };
  const common = { keyText: data.key, witnesses: data.witnesses, remembered: remembered(), consistency, step };
  let result = { ok: false, kind: "fetch" };
  try {
    const text = await fetchText(data.proof || data.checkpoint);
    result = data.proof ? await verify({ ...common, proofText: text, shown: data.shown }) : await verifyState({ ...common, note: text });
  } catch {
    result = { ok: false, kind: "fetch" };
  }
  if (result.keep && !keep(result.keep)) step({ name: "memory", ok: false, open: true, title: "It could not be remembered", fault: "This browser does not let the console keep anything." });
  document.querySelector("[data-audit-path]")?.classList.toggle("audit-path-checked", result.ok);
  showResult(box, result, data);
  showMemory(box);
  button.disabled = false;
  button.removeAttribute("aria-busy");
}

on("click", "[data-audit-verify]", (e, button) => check(button.closest("[data-audit-check]"), button));
on("click", "[data-audit-forget]", (e, button) => {
  const box = button.closest("[data-audit-check]");
  if (button.dataset.sure) {
    localStorage.removeItem(memory);
    delete button.dataset.sure;
    button.textContent = "Forget what it remembers";
    box.querySelector("[data-audit-result]").replaceChildren();
    box.querySelector("[data-audit-steps]").replaceChildren();
    showMemory(box);
    box.querySelector("[data-audit-verify]").focus();
    return;
  }
  button.dataset.sure = "yes";
  button.textContent = "Forget: changes made until now will not be found any more";
});
for (const box of document.querySelectorAll("[data-audit-check]")) showMemory(box);
