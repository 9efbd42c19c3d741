'use strict';
// Recovery mode begins with the first incident, lasts while there are more, and ends when it has been quiet.

const assert = require('node:assert/strict');
const { close, echoes } = require('../lib/client');
const { until } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { get } = require('../lib/server');
const { stage } = require('../lib/stage');

const QUIET_MS = 800;
const SWEEP_MS = 50;
const LATE_MS = 400;
const BEGINS = 'Panic recovery mode activated - monitoring for problematic sockets';
const ENDS = 'Panic recovery mode deactivated - it has been quiet';

const set = stage({
  name: 'recovery-mode',
  settings: { 'recovery.quiet_period_ms': QUIET_MS, 'monitoring.sweep_interval_ms': SWEEP_MS },
});

function count(words, from) {
  return set.server.lines.slice(from).filter(({ text }) => text.includes(words)).length;
}

/** What the server says of itself; nothing where it has no such page. */
async function recovering() {
  const { status, body } = await get(`${set.url}/ready`);
  if (status === 404) return undefined;
  const { ready, recovering } = JSON.parse(body);
  assert.deepEqual({ status, ready }, { status: 200, ready: true }, 'ready all the while');
  assert.equal(typeof recovering, 'boolean');
  return recovering;
}

async function sink(transport, event) {
  const offender = new Offender(await set.connect(transport, { reconnection: false }));
  await offender.sinks((socket) => socket.emit(event, {}));
}

for (const transport of ['websocket', 'polling']) {
  set.test(`over ${transport}: one incident begins it, quiet ends it`, async () => {
    const from = set.server.mark();
    const started = performance.now();
    await sink(transport, 'panic_async');
    await set.server.line(BEGINS, { from });
    assert.notEqual(await recovering(), false);
    await set.server.line(ENDS, { from, ms: QUIET_MS + LATE_MS });
    const took = performance.now() - started;
    assert.ok(took >= QUIET_MS, `ended after ${took.toFixed(0)} ms`);
    assert.match(await set.server.line(ENDS, { from }), /incidents=1\b/);
    assert.notEqual(await recovering(), true);
    assert.deepEqual([count(BEGINS, from), count(ENDS, from)], [1, 1]);
  });

  set.test(`over ${transport}: further incidents prolong it, and are counted`, async () => {
    const from = set.server.mark();
    const events = ['panic_sync', 'panic_spawned', 'panic_extract', 'panic_drop'];
    const started = performance.now();
    let last;
    for (const [number, event] of events.entries()) {
      // Each after more than half of the quiet period, which alone would not end it.
      await until(2000 * events.length, 'the next turn', () => performance.now() - started >= number * 0.6 * QUIET_MS);
      await sink(transport, event);
      last = performance.now();
      assert.equal(count(ENDS, from), 0, 'still in recovery mode');
    }
    const line = await set.server.line(ENDS, { from, ms: QUIET_MS + LATE_MS });
    assert.ok(performance.now() - last >= QUIET_MS - 100);
    assert.match(line, new RegExp(`incidents=${events.length}\\b`));
    assert.equal(count(BEGINS, from), 1);
  });

  set.test(`over ${transport}: it begins anew, and the server works in it as ever`, async () => {
    const from = set.server.mark();
    for (let round = 1; round <= 2; round += 1) {
      await sink(transport, 'panic_async0');
      await until(1000, 'it to begin', () => count(BEGINS, from) === round);
      const socket = await set.connect(transport, { reconnection: false });
      await echoes(socket, round);
      close(socket);
      await until(QUIET_MS + LATE_MS + 500, 'it to end', () => count(ENDS, from) === round);
    }
  });
}
