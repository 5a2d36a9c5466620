// Passkeys (WebAuthn level 3). The server makes the options and checks the
// answer; this carries them between it and the browser.
import { on } from "./dom.js";
import { ask, steppedUp } from "./stepup.js";

const base = { "sign-in": "/sign-in/passkey/", factor: "/sign-in/factor/passkey/", "step-up": "/step-up/passkey/", enrol: "/account/passkeys/" };

const bytes = (s) => Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const ids = (list) => list?.map((c) => ({ ...c, id: bytes(c.id) }));

async function post(url, value) {
  const res = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(value ?? {}), redirect: "error" });
  const answer = await res.json().catch(() => ({}));
  if (!res.ok) throw Object.assign(new Error(answer.detail || "The server did not take it. Try again."), { code: answer.code });
  return answer;
}

function credential(c) {
  const r = c.response;
  const out = { id: c.id, rawId: text(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(), authenticatorAttachment: c.authenticatorAttachment ?? undefined, response: { clientDataJSON: text(r.clientDataJSON) } };
  if (r.attestationObject) {
    out.response.attestationObject = text(r.attestationObject);
    out.response.transports = r.getTransports?.() ?? [];
  } else {
    out.response.authenticatorData = text(r.authenticatorData);
    out.response.signature = text(r.signature);
    if (r.userHandle) out.response.userHandle = text(r.userHandle);
  }
  return out;
}

let pending = null;

async function run(kind, options, mediation) {
  pending?.abort();
  const mine = new AbortController();
  pending = mine;
  const p = options.publicKey ?? options;
  const publicKey = { ...p, challenge: bytes(p.challenge) };
  if (kind === "enrol") {
    publicKey.user = { ...p.user, id: bytes(p.user.id) };
    publicKey.excludeCredentials = ids(p.excludeCredentials);
    return credential(await navigator.credentials.create({ publicKey, signal: mine.signal }));
  }
  publicKey.allowCredentials = ids(p.allowCredentials);
  return credential(await navigator.credentials.get({ publicKey, mediation, signal: mine.signal }));
}

async function ceremony(kind, extra, mediation) {
  const begun = await post(base[kind] + "begin", extra);
  const made = await run(kind, begun.options, mediation);
  return post(base[kind] + "finish", { ...extra, flow: begun.flow, credential: made });
}

function after(kind, answer) {
  if (kind === "step-up") steppedUp();
  else location.assign(typeof answer.next === "string" && /^\/(?![\/\\])/.test(answer.next) ? answer.next : "/");
}

function why(e) {
  if (e.name === "NotAllowedError") return "It was cancelled, or took too long. Try again.";
  if (e.name === "InvalidStateError") return "This device already has a passkey for your account.";
  if (e.name === "SecurityError") return "Passkeys work only under the address that Holdfast was set up with.";
  return e.message || "It did not work. Try again.";
}

on("click", "[data-passkey]", async (e, button) => {
  const kind = button.dataset.passkey;
  const error = button.parentElement.querySelector("[data-passkey-error]") ?? document.querySelector("[data-passkey-error]");
  if (error) error.textContent = "";
  if (!window.PublicKeyCredential) {
    if (error) error.textContent = "This browser cannot use passkeys.";
    return;
  }
  button.disabled = true;
  try {
    const name = document.querySelector("[data-passkey-name]")?.value;
    after(kind, await ceremony(kind, { next: button.dataset.next, name: name || undefined }));
  } catch (err) {
    if (err.code === "step-up-needed" && kind !== "step-up") ask(button);
    else if (error) error.textContent = why(err);
  } finally {
    button.disabled = false;
  }
});

// Passkeys also show up in the name field, where the browser can.
const field = document.querySelector('input[autocomplete~="webauthn"]');
if (field && window.PublicKeyCredential?.isConditionalMediationAvailable) {
  PublicKeyCredential.isConditionalMediationAvailable().then(async (can) => {
    if (!can) return;
    try {
      after("sign-in", await ceremony("sign-in", { next: field.form?.elements.next?.value }, "conditional"));
    } catch {
      // The person chose another way.
    }
  });
}
