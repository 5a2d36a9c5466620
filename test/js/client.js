// Runs mqtt.js as the plans on standard input ask: for each, messages to the
// echo and back at every QoS, a retained message, a will, a session that lasts,
// a refusal and, in MQTT 5, properties. Writes "done ID" for each; ends with 1
// at the first surprise.
"use strict";
const assert = require("assert"), fs = require("fs"), path = require("path"), tls = require("tls"), vm = require("vm");

// The file is the one for browsers: it wants to know which.
globalThis.navigator ??= {userAgent: "node"};
vm.runInThisContext(fs.readFileSync(path.join(__dirname, "mqtt.min.js"), "utf8"), "mqtt.min.js");
const {MqttClient} = globalThis.mqtt ?? vm.runInThisContext("mqtt");

// Debian's node-ws, also for a node that does not look where Debian installs.
const WebSocket = (() => { try { return require("ws"); } catch { return require("/usr/share/nodejs/ws"); } })();

const limit = 20000;

function within(promise, what) {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error("waiting too long for " + what)), limit); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Client is one connection; a message that came waits in a queue.
class Client {
  static async open(plan, suffix, extra) {
    const c = new Client();
    c.queue = []; c.waiting = [];
    const read = name => fs.readFileSync(path.join(plan.dir, name));
    const proof = {ca: read("ca.pem"), ...(plan.cert && {cert: read("cert.pem"), key: read("key.pem")})};
    const url = new URL(plan.server);
    const stream = () => url.protocol === "wss:"
      ? WebSocket.createWebSocketStream(c.socket = new WebSocket(plan.server, "mqtt", proof))
      : c.socket = tls.connect({host: url.hostname, port: Number(url.port), ...proof});
    c.mqtt = new MqttClient(stream, {protocolVersion: plan.version, protocolId: "MQTT", clientId: plan.id + suffix, clean: true,
      keepalive: 30, reconnectPeriod: 0, connectTimeout: limit, username: plan.user, password: plan.password, ...extra});
    c.mqtt.on("message", (topic, payload, packet) => {
      const m = {topic, text: payload.toString(), retain: packet.retain, qos: packet.qos, properties: packet.properties};
      const next = c.waiting.shift();
      next ? next(m) : c.queue.push(m);
    });
    c.errors = [];
    c.mqtt.on("error", e => c.errors.push(e));
    c.connack = await within(new Promise((yes, no) => { c.mqtt.once("connect", yes); c.mqtt.once("error", no); c.mqtt.once("close", () => no(new Error("closed"))); }), "CONNACK");
    return c;
  }
  next(what) {
    return within(this.queue.length ? Promise.resolve(this.queue.shift()) : new Promise(yes => this.waiting.push(yes)), what);
  }
  publish(topic, text, options) { return within(this.mqtt.publishAsync(topic, text, options), "the acknowledgement of " + topic); }
  subscribe(filter, qos) { return within(this.mqtt.subscribeAsync(filter, {qos}), "SUBACK of " + filter); }
  cut() { (this.socket.terminate ?? this.socket.destroy).call(this.socket); }
  leave() { return within(this.mqtt.endAsync(), "the end"); }
}

async function messages(plan, c) {
  for (const qos of [0, 1, 2]) {
    const base = `${plan.base}/${qos}`;
    await c.subscribe(base + "/down/#", qos);
    for (let n = 0; n < plan.copies; n++) await c.publish(`${base}/up/${n}`, "number " + n, {qos});
    for (let n = 0; n < plan.copies; n++) {
      const m = await c.next("the echo");
      assert.deepStrictEqual([m.topic, m.text, m.retain, m.qos], [`${base}/down/${n}`, "number " + n, false, qos]);
    }
  }
}

async function features(plan, c) {
  const base = plan.base + "/features", five = plan.version === 5;
  await c.publish(base + "/kept", "retained", {qos: 1, retain: true});
  const lasting = {clean: false, ...(five && {properties: {sessionExpiryInterval: 300}})};
  let l = await Client.open(plan, "-lasting", lasting);
  assert.ok(!l.connack.sessionPresent);
  await l.subscribe(base + "/#", 1);
  let m = await l.next("the retained message");
  assert.deepStrictEqual([m.text, m.retain], ["retained", true]);
  await c.publish(base + "/kept", "", {qos: 1, retain: true});
  assert.strictEqual((await l.next("its end")).text, "");
  const mortal = await Client.open(plan, "-mortal", {will: {topic: base + "/will", payload: Buffer.from("gone"), qos: 1, retain: false}});
  mortal.cut();
  assert.strictEqual((await l.next("the will")).text, "gone");
  l.cut();
  await c.publish(base + "/missed", "while away", {qos: 2});
  l = await Client.open(plan, "-lasting", lasting);
  assert.ok(l.connack.sessionPresent);
  do m = await l.next("what was missed"); while (m.text === "gone"); // its acknowledgement may have been lost: QoS 1
  assert.strictEqual(m.text, "while away");
  if (five) {
    const properties = {contentType: "text/plain", userProperties: {colour: ["blue", "red"]}, responseTopic: plan.base + "/answer", correlationData: Buffer.from([0, 255])};
    await c.publish(base + "/properties", "x", {qos: 1, properties});
    const got = (await l.next("properties")).properties;
    assert.deepStrictEqual({...got.userProperties}, {colour: ["blue", "red"]});
    assert.strictEqual(got.contentType, "text/plain");
    assert.strictEqual(got.responseTopic, plan.base + "/answer");
    assert.deepStrictEqual([...got.correlationData], [0, 255]);
    await assert.rejects(c.publish("factory/other", "x", {qos: 1}), e => e.code === 0x87);
  }
  await assert.rejects(c.subscribe("factory/#", 1));
  await l.leave();
}

async function run(plan) {
  try {
    const c = await Client.open(plan, "", {});
    await messages(plan, c);
    await features(plan, c);
    await c.leave();
  } catch (e) {
    throw new Error(`${plan.id}: ${e.stack}`);
  }
  console.log("done " + plan.id);
}

Promise.all(JSON.parse(fs.readFileSync(0)).map(run)).then(() => process.exit(0), e => { console.error(e); process.exit(1); });
