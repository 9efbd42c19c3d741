'use strict';
// How long the offender waits: two hundred panics in a row on each transport.

const assert = require('node:assert/strict');
const { close, echoes } = require('../lib/client');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const PANICS = 200;
const WARM_UP = 10;
// Loose, for machines that do much else; the promise itself is for an idle one.
const P99_MS = 50;

// One bystander: this machine should be as idle as a test allows.
const set = stage({ name: 'latency', bystanders: ['websocket'] });

for (const transport of ['websocket', 'polling']) {
  set.test(`${PANICS} panics in a row over ${transport}: p99 below ${P99_MS} ms`, async () => {
    const echoed = [];
    const told = [];
    const closed = [];
    for (let count = 0; count < PANICS + WARM_UP; count += 1) {
      const offender = new Offender(await set.connect(transport, { reconnection: false }));
      // What the client and its transport need by themselves, for comparison.
      const asked = performance.now();
      await echoes(offender.socket, count);
      const echoMs = performance.now() - asked;
      const fate = await offender.sinks((socket) => socket.emit('panic_async', {}));
      close(offender.socket);
      if (count < WARM_UP) continue;
      echoed.push(echoMs);
      told.push(fate.toldMs);
      closed.push(fate.closedMs);
    }
    report(`${transport}: emit to echo      `, echoed);
    report(`${transport}: emit to incident  `, told);
    report(`${transport}: emit to disconnect`, closed);
    console.log(`${transport}: a bystander's worst echo ${set.bystanders.worstMs().toFixed(2)} ms`);
    assert.ok(quantile(told, 0.99) < P99_MS, 'told in time');
    assert.ok(quantile(closed, 0.99) < P99_MS, 'closed in time');
  });
}

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

function report(what, values) {
  const [p50, p99, max] = [0.5, 0.99, 1].map((q) => quantile(values, q).toFixed(2));
  console.log(`${what}: p50 ${p50} ms, p99 ${p99} ms, max ${max} ms`);
}
