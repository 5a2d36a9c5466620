// Run by verify_test.go: node --test verify.test.mjs, with VECTORS and MODULE set.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createPrivateKey, sign as ed25519 } from "node:crypto";

const m = await import(process.env.MODULE);
const v = JSON.parse(readFileSync(process.env.VECTORS + "/vectors.json", "utf8"));
const proofText = readFileSync(process.env.VECTORS + "/proof.json", "utf8");
const leaves = v.leaves.map((l) => new TextEncoder().encode(l));
const hashes = (list) => list.map((h) => m.bytesOf(h));

// note signs a checkpoint with the seed of the vectors' log.
async function note(origin, size, root, seed = v.log_seed_hex, keyText = v.log_key) {
  const text = `${origin}\n${size}\n${root}\n`;
  const key = createPrivateKey({ key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "hex")]), format: "der", type: "pkcs8" });
  const id = (await m.parseKey(keyText)).id;
  return `${text}\n\u2014 ${origin} ${Buffer.concat([id, ed25519(null, Buffer.from(text), key)]).toString("base64")}\n`;
}

async function run(over = {}) {
  const steps = [];
  const result = await m.verify({ proofText, keyText: v.log_key, remembered: null, consistency: async () => null, step: (s) => steps.push(s), ...over });
  return { ...result, steps, last: steps.at(-1) };
}

async function kept(size, over = {}) {
  return { format: 1, key: v.log_key, size, checkpoint: await note("log.example/fleet", size, v.roots[size]), seen: "2030-01-01T00:00:00.000Z", ...over };
}

const consistent = (old, size) => (size === 11 ? v.consistency.find((c) => c.old === old).proof : null);

test("hashes and paths are those of the vectors", async () => {
  const leafHashes = await Promise.all(leaves.map(m.leafHash));
  for (const c of v.inclusion) {
    const way = await m.climb(leafHashes[c.index], c.index, c.size, hashes(c.path));
    const root = way.length ? way.at(-1).hash : leafHashes[c.index];
    assert.equal(m.base64Of(root), v.roots[c.size], `entry ${c.index} of ${c.size}`);
    for (const [i, h] of c.path.entries()) {
      const other = hashes(c.path);
      other[i] = m.bytesOf(h).map((b, j) => (j === i % 32 ? b ^ 1 : b));
      const wrong = await m.climb(leafHashes[c.index], c.index, c.size, other);
      assert.notEqual(m.base64Of(wrong.at(-1).hash), v.roots[c.size]);
    }
  }
});

test("consistency is that of the vectors, and of nothing else", async () => {
  for (const c of v.consistency.filter((c) => c.old > 0)) {
    const [a, b] = [m.bytesOf(v.roots[c.old]), m.bytesOf(v.roots[c.size])];
    await m.checkConsistency(c.old, a, c.size, b, hashes(c.proof));
    const wrong = [
      [c.old, a, c.size, b, [...hashes(c.proof), a]],
      [c.old, b, c.size, a, hashes(c.proof)],
      [c.old, a.map((x, i) => (i === 3 ? x ^ 4 : x)), c.size, b, hashes(c.proof)],
      [c.old, a, c.size, b.map((x, i) => (i === 9 ? x ^ 4 : x)), hashes(c.proof)],
      [c.size + 1, a, c.size, b, hashes(c.proof)],
      [0, a, c.size, b, hashes(c.proof)],
    ];
    if (c.proof.length > 0) wrong.push([c.old, a, c.size, b, hashes(c.proof).slice(1)], [c.old, a, c.size, b, hashes(c.proof).reverse()].slice(0, c.proof.length > 1 ? 5 : 0));
    for (const args of wrong.filter((w) => w.length === 5)) {
      if (c.old === c.size && args[1] === b) continue;
      await assert.rejects(m.checkConsistency(...args), m.Fault, JSON.stringify(args.slice(0, 1)));
    }
  }
});

test("a true proof passes every step", async () => {
  const r = await run();
  assert.ok(r.ok && r.complete, JSON.stringify(r.steps));
  assert.deepEqual(r.steps.map((s) => s.name), ["leaf", "path", "root", "signature", "history"]);
  assert.equal(r.keep.size, 11);
  assert.equal(r.keep.key, v.log_key);
});

test("one changed character anywhere is found", async () => {
  let n = 0;
  for (let i = 0; i < proofText.trimEnd().length; i++) {
    const c = proofText[i];
    const other = c === "1" ? "2" : /[a-y]/i.test(c) ? String.fromCharCode(c.charCodeAt(0) + 1) : "1";
    const r = await run({ proofText: proofText.slice(0, i) + other + proofText.slice(i + 1) });
    assert.ok(!r.ok, `character ${i} (${c} to ${other}) went unnoticed`);
    assert.equal(r.keep, null);
    n++;
  }
  assert.ok(n > 600);
});

test("cut and padded proofs are refused", async () => {
  for (const text of ["", "{}", "null", proofText.slice(0, 200), proofText + proofText, proofText.replace('"path":', '"path":[],"path":'), "x".repeat(70000),
    proofText.replace(/"path":\[.*?\]/, '"path":[]'), proofText.replace('"index":7', '"index":07'), proofText.replace('"index":7', '"index":12'), proofText.replace('"index":7', '"index":6')]) {
    const r = await run({ proofText: text });
    assert.ok(!r.ok && r.steps.length >= 1 && !r.last.ok, text.slice(0, 60));
  }
});

test("leaves that the log does not write are refused", () => {
  for (const leaf of v.leaves) m.parseLeaf(leaf);
  const taken = v.refused_leaves.filter((leaf) => { try { m.parseLeaf(leaf); return true; } catch { return false; } });
  assert.deepEqual(taken, []);
});

test("keys", async () => {
  const key = await m.parseKey(v.log_key);
  assert.equal(key.name, "log.example/fleet");
  assert.equal((await m.parseKey(v.witness_key, true)).name, "witness.example/w1");
  for (const text of ["", "x", v.witness_key, v.log_key.replace("fleet", "other"), v.log_key.slice(0, -4), v.log_key + "A", v.log_key.replace("+5a", "+5b"), null]) {
    await assert.rejects(m.parseKey(text), m.Fault, String(text));
  }
  assert.equal((await run({ keyText: v.log_key.replace("fleet", "other") })).kind, "key");
});

test("another key, even of the same name, does not pass", async () => {
  const checkpoint = await note("log.example/fleet", 11, v.roots[11], "02".repeat(32));
  const text = proofText.slice(0, proofText.indexOf('"checkpoint":')) + '"checkpoint":' + JSON.stringify(checkpoint) + "}\n";
  const r = await run({ proofText: text });
  assert.equal(r.kind, "signature");
});

test("witnesses", async () => {
  const c = m.parseCheckpoint(v.witnessed_checkpoint);
  const w = await m.parseKey(v.witness_key, true);
  assert.equal((await m.cosignedBy(c, w)).getTime(), v.witness_time * 1000);
  c.text = c.text.replace("\n11\n", "\n10\n");
  assert.equal(await m.cosignedBy(c, w), null);
  assert.equal((await run({ witnesses: [v.witness_key] })).kind, "witnesses");
  const text = proofText.slice(0, proofText.indexOf('"checkpoint":')) + '"checkpoint":' + JSON.stringify(v.witnessed_checkpoint) + "}\n";
  const r = await run({ proofText: text, witnesses: [v.witness_key] });
  assert.ok(r.ok && r.steps.some((s) => s.name === "witnesses" && s.values.words[0].witness === "witness.example/w1"));
});

test("what was seen before", async () => {
  for (const size of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
    const r = await run({ remembered: await kept(size), consistency: async (a, b) => consistent(a, b) });
    assert.ok(r.ok, size + JSON.stringify(r.last));
    assert.equal(r.keep.size, 11);
  }
  const same = await run({ remembered: await kept(11) });
  assert.ok(same.ok && same.keep.seen === "2030-01-01T00:00:00.000Z");
});

test("a rewritten, shrunken or exchanged log is shouted about", async () => {
  const forged = await kept(8, { checkpoint: await note("log.example/fleet", 8, v.roots[7]) });
  const rewritten = await run({ remembered: forged, consistency: async (a, b) => consistent(a, b) });
  assert.equal(rewritten.kind, "history");
  assert.ok(rewritten.conflict && rewritten.keep === null);

  const two = await kept(11, { checkpoint: await note("log.example/fleet", 11, v.roots[10]) });
  assert.equal((await run({ remembered: two })).kind, "history");

  const longer = await kept(11, { size: 40, checkpoint: await note("log.example/fleet", 40, v.roots[3]) });
  const shrunk = await run({ remembered: longer });
  assert.equal(shrunk.kind, "shrunk");
  assert.ok(shrunk.conflict);

  const seed = "02".repeat(32);
  const otherKey = "log.example/fleet+" + "63b7ccd8+AYE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
  const exchanged = await run({ remembered: { ...(await kept(11)), key: otherKey, checkpoint: await note("log.example/fleet", 11, v.roots[11], seed, otherKey) } });
  assert.equal(exchanged.kind, "key-changed");
  assert.ok(exchanged.conflict);

  assert.equal((await run({ remembered: await kept(4, { checkpoint: "junk" }) })).kind, "memory");
  assert.equal((await run({ remembered: await kept(4) })).kind, "unreachable");
  const lie = await run({ remembered: await kept(4), consistency: async () => consistent(5, 11) });
  assert.equal(lie.kind, "history");
});

test("an older checkpoint of the same history is no shrunken log", async () => {
  const c = v.inclusion.find((x) => x.size === 9 && x.index === 7);
  const text = `{"format":"holdfast-proof/1","index":7,"leaf":${v.leaves[7]},"path":${JSON.stringify(c.path)},"checkpoint":${JSON.stringify(await note("log.example/fleet", 9, v.roots[9]))}}\n`;
  const r = await run({ proofText: text, remembered: await kept(11), consistency: async (a, b) => consistent(a, b) });
  assert.ok(r.ok, JSON.stringify(r.last));
  assert.equal(r.keep.size, 11);
});

test("what the page shows has to be what the log holds", async () => {
  const shown = { index: 7, action: "ca.rotate", subject: "device:d7", actor: "system:sequencer", outcome: "success", reason: "", id: "01J0000007", time: "2026-03-04T05:06:15.641969Z" };
  assert.ok((await run({ shown })).ok);
  for (const [name, value] of Object.entries({ index: 6, action: "ca.rotated", subject: "device:d8", actor: "system:x", outcome: "refused", reason: "x", id: "x", time: "2026-03-04T05:06:15.641960Z" })) {
    assert.equal((await run({ shown: { ...shown, [name]: value } })).kind, "shown", name);
  }
});

test("a browser without Ed25519 says so and remembers nothing", async () => {
  const importKey = crypto.subtle.importKey;
  crypto.subtle.importKey = async () => { throw new DOMException("Unrecognized name.", "NotSupportedError"); };
  try {
    const r = await run();
    assert.equal(r.kind, "browser");
    assert.ok(!r.ok && r.keep === null && r.last.open);
    assert.deepEqual(r.steps.map((s) => s.name), ["leaf", "path", "root", "signature"]);
  } finally {
    crypto.subtle.importKey = importKey;
  }
});
