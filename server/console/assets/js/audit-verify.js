// Checks that an event is in the audit log, with WebCrypto alone: RFC 6962 hashes
// and paths, checkpoints in C2SP signed notes, Ed25519. It knows nothing of pages,
// so that the same file runs in tests. It accepts only what audit/proof.go and
// audit/checkpoint.go of the server accept, and trusts nothing but the key given.

const maxProof = 64 * 1024;
const maxNote = 16 * 1024;
const maxSize = 2 ** 53;
const maxPath = 54;
const hashBytes = 32;

// Fault is a check that failed: kind is for programs, the message for people.
export class Fault extends Error {
  constructor(kind, message) {
    super(message);
    this.name = "Fault";
    this.kind = kind;
  }
}

const utf8 = new TextEncoder();

function fail(kind, message) {
  throw new Fault(kind, message);
}

// bytesOf reads the one base64 spelling of bytes.
export function bytesOf(base64) {
  let binary;
  try {
    binary = atob(base64);
  } catch {
    return null;
  }
  const out = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  return base64Of(out) === base64 ? out : null;
}

export function base64Of(bytes) {
  let s = "";
  for (const b of bytes) s += String.fromCharCode(b);
  return btoa(s);
}

export function hexOf(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export function equal(a, b) {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}

function joined(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

// leafHash is of RFC 6962 section 2.1: a zero byte before the leaf.
export function leafHash(leaf) {
  return sha256(joined([0], leaf));
}

// nodeHash is of RFC 6962 section 2.1: a one before both children.
export function nodeHash(left, right) {
  return sha256(joined([1], left, right));
}

function hashOf(text, what) {
  const h = typeof text === "string" ? bytesOf(text) : null;
  if (!h || h.length !== hashBytes) fail("malformed", what + " is not 32 bytes in base64.");
  return h;
}

// sizeOf reads a decimal number up to 2^53 in its one spelling.
function sizeOf(text) {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || Number(text) > maxSize) return -1;
  return Number(text);
}

// rawValue returns the JSON object that begins at a place of a text, unchanged:
// the leaf's hash is over its bytes, which reading and writing could change.
function rawValue(text, at) {
  let depth = 0;
  let inString = false;
  for (let i = at; i < text.length; i++) {
    const c = text[i];
    if (inString) {
      if (c === "\\") i++;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") {
      if (--depth === 0) return text.slice(at, i + 1);
    }
  }
  return fail("malformed", "The proof is cut off.");
}

// oneForm writes an event as the log does: fields in order, details sorted, no
// escapes but \" and \\. An event that is written otherwise is not the log's.
function oneForm(e) {
  const q = (v) => (typeof v === "string" ? '"' + v.replace(/["\\]/g, "\\$&") + '"' : fail("malformed", "A field of the event is not a text."));
  const details = Object.keys(e.details).sort().map((k) => q(k) + ":" + q(e.details[k]));
  return `{"id":${q(e.id)},"time":${q(e.time)},"node":${q(e.node)},"actor":{"kind":${q(e.actor.kind)},"id":${q(e.actor.id)},"source":${q(e.actor.source)}},"action":${q(e.action)},` +
    `"subject":{"kind":${q(e.subject.kind)},"id":${q(e.subject.id)}},"outcome":${q(e.outcome)},"reason":${q(e.reason)},"request":${q(e.request)},"details":{${details}}}`;
}

// parseLeaf reads an event in the log's one form.
export function parseLeaf(text) {
  let e;
  let same = false;
  try {
    e = JSON.parse(text);
    same = oneForm(e) === text;
  } catch {
    same = false;
  }
  const ok = same && /^[a-z_]+(\.[a-z_]+)+$/.test(e.action) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(e.time) &&
    ["success", "refused", "failed"].includes(e.outcome) && !/[\p{C}\u2028\u2029]/u.test(text);
  return ok ? e : fail("malformed", "The event is not written in the one form that the log writes.");
}

// parseProof reads the portable proof of one event. It verifies nothing.
export function parseProof(text) {
  if (typeof text !== "string" || utf8.encode(text).length > maxProof) fail("malformed", "The proof is longer than 64 KiB.");
  const head = /^\{"format":"holdfast-proof\/1","index":(0|[1-9][0-9]{0,15}),"leaf":(?=\{)/.exec(text);
  if (!head) fail("malformed", "It is not a proof of the format holdfast-proof/1.");
  const leaf = rawValue(text, head[0].length);
  const event = parseLeaf(leaf);
  let rest;
  const tail = text.slice(head[0].length + leaf.length);
  try {
    if (!/^,"path":\[[A-Za-z0-9+/=",]*\],"checkpoint":"(?:[^"\\]|\\.)*"\}\n?$/.test(tail)) throw new SyntaxError();
    rest = JSON.parse("{" + tail.slice(1));
  } catch {
    fail("malformed", "The proof has other fields than the format names.");
  }
  const index = sizeOf(head[1]);
  if (index < 0 || rest.path.length > maxPath) fail("malformed", "The proof's index or path is out of range.");
  return { index, leaf: utf8.encode(leaf), leafText: leaf, event, path: rest.path.map((h, i) => hashOf(h, "Hash " + (i + 1) + " of the path")), checkpoint: rest.checkpoint };
}

// parseKey reads name+hash+base64 (C2SP signed-note): of a log, or of a witness.
export async function parseKey(text, witness = false) {
  const bad = "A public key is not of the form name+hash+key.";
  const parts = typeof text === "string" && text.length <= 512 ? text.trim().split("+") : [];
  if (parts.length < 3) fail("key", bad);
  const name = parts[0];
  const raw = bytesOf(parts.slice(2).join("+"));
  if (!name || /[\s\p{C}]/u.test(name) || !raw || raw.length !== 33) fail("key", bad);
  if (raw[0] !== (witness ? 4 : 1)) fail("key", "A key is not of the kind that it should be: a log's, or a witness's.");
  const id = (await sha256(joined(utf8.encode(name + "\n"), raw))).slice(0, 4);
  if (hexOf(id) !== parts[1]) fail("key", "The key's hash does not fit its name: it was changed, or belongs to another name.");
  return { text: text.trim(), name, id, raw: raw.slice(1) };
}

// parseCheckpoint reads a signed note whose text is a checkpoint. It verifies
// nothing.
export function parseCheckpoint(note) {
  if (utf8.encode(note).length > maxNote || /[\u0000-\u0009\u000b-\u001f]/.test(note)) fail("malformed", "The checkpoint is too long, or holds control characters.");
  const cut = note.lastIndexOf("\n\n");
  if (cut < 0 || !note.endsWith("\n")) fail("malformed", "The checkpoint has no signatures.");
  const text = note.slice(0, cut + 1);
  const lines = text.slice(0, -1).split("\n");
  if (lines.length < 3 || lines.includes("")) fail("malformed", "The checkpoint has fewer than three lines, or an empty one.");
  const size = sizeOf(lines[1]);
  if (size < 0) fail("malformed", "The checkpoint's size is not a number.");
  const below = note.slice(cut + 2, -1).split("\n");
  if (below.length > 16) fail("malformed", "The checkpoint has more than 16 signatures.");
  const signatures = below.map((line) => {
    const m = /^\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    const raw = m && bytesOf(m[2]);
    if (!raw || raw.length < 5) fail("malformed", "A signature of the checkpoint is not of the form that signed notes have.");
    return { name: m[1], id: raw.slice(0, 4), data: raw.slice(4) };
  });
  return { note, text, origin: lines[0], size, root: hashOf(lines[2], "The checkpoint's root"), signatures };
}

// knowsEd25519 tells whether this browser's WebCrypto can check the signature.
export async function knowsEd25519() {
  try {
    await crypto.subtle.importKey("raw", new Uint8Array(32).fill(1), { name: "Ed25519" }, false, ["verify"]);
    return true;
  } catch (e) {
    return e?.name === "DataError";
  }
}

async function signedBy(raw, signature, message) {
  const key = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, message);
}

// checkSignature checks that the log's key signed the checkpoint.
export async function checkSignature(checkpoint, key) {
  if (checkpoint.origin !== key.name) fail("other-log", "The checkpoint is of the log " + checkpoint.origin + ", and the key is of " + key.name + ".");
  const own = checkpoint.signatures.filter((s) => s.name === key.name && equal(s.id, key.id) && s.data.length === 64);
  if (own.length === 0) fail("signature", "The log's key has not signed the checkpoint.");
  const message = utf8.encode(checkpoint.text);
  for (const s of own) {
    if (await signedBy(key.raw, s.data, message)) return s.data;
  }
  return fail("signature", "The signature on the checkpoint is wrong: somebody changed the checkpoint, or made it without the log's key.");
}

// cosignedBy says when a witness cosigned a checkpoint (C2SP tlog-cosignature), or
// null. A wrong cosignature counts as none.
export async function cosignedBy(checkpoint, witness) {
  for (const s of checkpoint.signatures) {
    if (s.name !== witness.name || !equal(s.id, witness.id) || s.data.length !== 72) continue;
    const seconds = new DataView(s.data.buffer, s.data.byteOffset).getBigUint64(0);
    const message = utf8.encode("cosignature/v1\ntime " + seconds + "\n" + checkpoint.text);
    if (seconds < 1n << 40n && (await signedBy(witness.raw, s.data.slice(8), message))) return new Date(Number(seconds) * 1000);
  }
  return null;
}

// split is the largest power of two below n, which is 2 or more.
function split(n) {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

// pathOf says which subtrees stand beside the way from an entry up to the root of
// a tree of size entries (RFC 6962 section 2.1.1), the lowest first.
export function pathOf(index, size) {
  const steps = [];
  let from = 0;
  let to = size;
  while (to - from > 1) {
    const k = split(to - from);
    if (index < from + k) {
      steps.push({ side: "right", from: from + k, to });
      to = from + k;
    } else {
      steps.push({ side: "left", from, to: from + k });
      from += k;
    }
  }
  return steps.reverse();
}

// climb hashes the way up from the leaf and returns each step with its hash.
export async function climb(leaf, index, size, path) {
  if (index < 0 || index >= size) fail("size", "The checkpoint covers " + size + " entries, and this would be entry " + index + ".");
  const steps = pathOf(index, size);
  if (steps.length !== path.length) fail("path", "A path to the root of " + size + " entries has " + steps.length + " hashes, and the proof has " + path.length + ".");
  let hash = leaf;
  for (const [i, s] of steps.entries()) {
    s.beside = path[i];
    hash = s.side === "left" ? await nodeHash(path[i], hash) : await nodeHash(hash, path[i]);
    s.hash = hash;
  }
  return steps;
}

// checkConsistency checks that the tree of old entries begins the tree of size
// entries (RFC 6962 section 2.1.2).
export async function checkConsistency(old, oldRoot, size, root, proof) {
  const wrong = "The proof does not lead from the earlier state of the log to the present one.";
  if (old < 1 || old > size || size > maxSize || proof.length > maxPath) fail("history", wrong);
  if (old === size) {
    if (proof.length !== 0 || !equal(oldRoot, root)) fail("history", wrong);
    return;
  }
  // What is to the left of where the trees part, and what is to the right of it.
  const list = [...proof];
  const take = () => list.pop() ?? fail("history", wrong);
  const walk = async (m, n, whole) => {
    if (m === n) {
      const h = whole ? oldRoot : take();
      return [h, h];
    }
    const k = split(n);
    if (m <= k) {
      const right = take();
      const [a, b] = await walk(m, k, whole);
      return [a, await nodeHash(b, right)];
    }
    const left = take();
    const [a, b] = await walk(m - k, n - k, false);
    return [await nodeHash(left, a), await nodeHash(left, b)];
  };
  const [a, b] = await walk(old, size, true);
  if (list.length !== 0 || !equal(a, oldRoot) || !equal(b, root)) fail("history", wrong);
}

// verify runs every check in order and calls step with each: {name, ok, title,
// values, fault}. keyText is the log's public key; remembered is what remember()
// returned before, or null; consistency(old, size) fetches base64 hashes. It
// returns {ok, complete, checkpoint, key, keep}: keep is to be remembered. It never
// throws for what it was given: a fault is a step that is not ok.
export async function verify({ proofText, keyText, witnesses = [], remembered, consistency, shown, step }) {
  const result = { ok: false, complete: false, kind: "", keep: null, conflict: null };
  const told = (name, title, values) => step({ name, ok: true, title, values });
  let at = "proof";
  if (noCrypto(step, result)) return result;
  try {
    const proof = parseProof(proofText);
    if (shown) compareShown(proof, shown);
    const leaf = await leafHash(proof.leaf);
    told("leaf", "The event's bytes give this leaf hash", { bytes: proof.leaf.length, hash: base64Of(leaf) });
    at = "path";
    const checkpoint = parseCheckpoint(proof.checkpoint);
    const way = await climb(leaf, proof.index, checkpoint.size, proof.path);
    const root = way.length > 0 ? way[way.length - 1].hash : leaf;
    told("path", "Hashing up the path gives this root", { way: way.map((s) => ({ side: s.side, from: s.from, to: s.to, beside: base64Of(s.beside), hash: base64Of(s.hash) })), root: base64Of(root) });
    at = "root";
    if (!equal(root, checkpoint.root)) fail("path", "The path leads to " + base64Of(root) + ", and the checkpoint's root is " + base64Of(checkpoint.root) + ": this event is not what the log holds as entry " + proof.index + ".");
    told("root", "It is the root in the checkpoint", { origin: checkpoint.origin, size: checkpoint.size, root: base64Of(checkpoint.root) });
    at = "state";
    await checkState({ checkpoint, keyText, witnesses, remembered, consistency, step, told, result });
  } catch (e) {
    failed(e, at, step, result);
  }
  return result;
}

// verifyState checks a checkpoint alone: its signatures, and that it continues
// what was seen before.
export async function verifyState({ note, keyText, witnesses = [], remembered, consistency, step }) {
  const result = { ok: false, complete: false, kind: "", keep: null, conflict: null };
  const told = (name, title, values) => step({ name, ok: true, title, values });
  if (noCrypto(step, result)) return result;
  try {
    const checkpoint = parseCheckpoint(note);
    told("checkpoint", "The checkpoint names this state", { origin: checkpoint.origin, size: checkpoint.size, root: base64Of(checkpoint.root) });
    await checkState({ checkpoint, keyText, witnesses, remembered, consistency, step, told, result });
  } catch (e) {
    failed(e, "checkpoint", step, result);
  }
  return result;
}

function noCrypto(step, result) {
  if (globalThis.crypto?.subtle) return false;
  result.kind = "browser";
  step({ name: "browser", ok: false, open: true, title: "This browser cannot check anything", fault: "It has no WebCrypto here. Use a newer browser over HTTPS, or the command below." });
  return true;
}

// checkState is what both have in common: signature, witnesses, history.
async function checkState({ checkpoint, keyText, witnesses, remembered, consistency, step, told, result }) {
  let at = "signature";
  try {
    const key = await parseKey(keyText);
    result.checkpoint = checkpoint;
    if (!(await knowsEd25519())) {
      result.kind = "browser";
      step({ name: at, ok: false, open: true, title: "The signature could not be checked", fault: "This browser’s WebCrypto does not know Ed25519. Use a newer browser, or the command below. Nothing was remembered." });
      return;
    }
    const signature = await checkSignature(checkpoint, key);
    told(at, "The log’s key signed the checkpoint", { key: key.text, signature: base64Of(signature) });
    at = "witnesses";
    if (witnesses.length > 0) await checkWitnesses(checkpoint, witnesses, told);
    at = "history";
    result.conflict = { remembered, checkpoint: checkpoint.note, key: key.text };
    const history = await checkHistory(checkpoint, key, remembered, consistency);
    told(at, history.title, history.values);
    result.conflict = null;
    result.keep = history.keep;
    result.first = !remembered;
    result.ok = result.complete = true;
  } catch (e) {
    failed(e, at, step, result);
  }
}

// failed makes a step of a fault. Only what contradicts the past is a conflict.
function failed(e, at, step, result) {
  const known = e instanceof Fault;
  result.kind = known ? e.kind : "error";
  if (!["key-changed", "shrunk", "history"].includes(e.kind)) result.conflict = null;
  step({ name: at, ok: false, title: titles[e.kind === "shown" ? "shown" : at], fault: known ? e.message : "Something went wrong in this browser: " + (e?.message || e) });
}

async function checkWitnesses(checkpoint, witnesses, told) {
  const words = [];
  for (const text of witnesses) {
    const key = await parseKey(text, true);
    const at = await cosignedBy(checkpoint, key);
    if (at) words.push({ witness: key.name, at: at.toISOString() });
  }
  if (words.length === 0) fail("witnesses", "None of the " + witnesses.length + " witnesses that the server names has cosigned the checkpoint.");
  told("witnesses", words.length + " of " + witnesses.length + " witnesses cosigned it", { words });
}

const titles = { checkpoint: "The checkpoint cannot be read", state: "The state of the log is wrong", proof: "The proof cannot be read", shown: "The proof is of another event than this page shows", path: "The path is wrong", root: "The path does not lead to the checkpoint", signature: "The checkpoint is not signed by the log", witnesses: "No witness cosigned the checkpoint", history: "The log contradicts what this browser saw before" };

// compareShown compares what the page says with what the proof holds.
function compareShown(proof, shown) {
  if (proof.index !== shown.index) fail("shown", "The proof is of entry " + proof.index + ", and this page shows entry " + shown.index + ".");
  const e = proof.event;
  const pairs = { id: e.id, time: e.time, actor: e.actor?.kind + ":" + e.actor?.id, action: e.action, subject: e.subject?.kind + ":" + e.subject?.id, outcome: e.outcome, reason: e.reason };
  for (const [name, value] of Object.entries(pairs)) {
    if (name in shown && shown[name] !== value) fail("shown", "This page shows “" + shown[name] + "” as " + name + ", and the log holds “" + value + "”.");
  }
}

// remember is what is kept of a checkpoint that passed every check.
export function remember(checkpoint, key, seen) {
  return { format: 1, key: key.text, size: checkpoint.size, checkpoint: checkpoint.note, seen };
}

// checkHistory compares a checkpoint with the largest one seen before. It throws
// when the log's key changed, or the log shrank or was rewritten.
export async function checkHistory(checkpoint, key, remembered, consistency) {
  const fresh = remember(checkpoint, key, new Date().toISOString());
  if (!remembered) return { title: "This browser has seen nothing of this log before: it remembers key and size from now on", values: { size: checkpoint.size }, keep: fresh };
  let before;
  try {
    before = parseCheckpoint(remembered.checkpoint);
    await checkSignature(before, await parseKey(remembered.key)); // what is kept here could have been changed as well
  } catch {
    fail("memory", "What this browser remembers of the log is damaged. Forget it, and check again.");
  }
  if (remembered.key !== key.text) fail("key-changed", "The log's key is not the one that this browser saw before. Before: " + remembered.key + ". Now: " + key.text + ".");
  const since = { before: before.size, size: checkpoint.size, seen: remembered.seen };
  if (before.size === checkpoint.size) {
    if (!equal(before.root, checkpoint.root)) fail("history", "The log signed two different histories of " + before.size + " entries.");
    return { title: "It is the same state of the log that this browser saw before", values: since, keep: remembered };
  }
  const shrunk = checkpoint.size < before.size;
  const [small, large] = shrunk ? [checkpoint, before] : [before, checkpoint];
  if (small.size > 0) {
    const answer = await consistency(small.size, large.size);
    if (!answer && shrunk) fail("shrunk", "The log has become shorter: this browser saw " + before.size + " entries, and now the log shows " + checkpoint.size + ".");
    if (!answer) fail("unreachable", "The server did not say how its present state continues the one that this browser saw. Try again.");
    await checkConsistency(small.size, small.root, large.size, large.root, answer.map((h) => hashOf(h, "A hash of the proof")));
    since.hashes = answer.length;
  } else if (shrunk) {
    fail("shrunk", "The log is empty: this browser saw " + before.size + " entries.");
  }
  if (shrunk) return { title: "The checkpoint is older than the newest one seen by this browser, and of the same history", values: since, keep: remembered };
  return { title: "The log only grew since this browser saw it last: nothing before was changed", values: since, keep: fresh };
}
