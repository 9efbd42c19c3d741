'use strict';
// A storm: two thousand panics a second for ten seconds, with backtraces on. Nobody else may feel it, memory must not
// grow with it, and the log must say how many incidents it left out instead of printing each.

const assert = require('node:assert/strict');
const { close } = require('../lib/client');
const { pause, until } = require('../lib/deadline');
const { resident } = require('../lib/memory');
const { stage } = require('../lib/stage');

const SECONDS = Number(process.env.STORM_SECONDS ?? 10);
const PER_SECOND = 2000;
const CLIENTS = 20;
const BATCH_MS = 20;
// What the storm may add once it has been blowing for a while: noise of the allocator, nothing per panic.
const GROWTH_KIB = 16 * 1024;
const PRINTED_PER_SECOND = 20;

// The events fail alone and nobody's score is kept, so that the sockets stay and the storm keeps its pace.
const set = stage({
  name: 'storm',
  settings: {
    'detection.fail_events': '/lab panic_async',
    'detection.fail_event_limit': 1_000_000,
    'detection.conduct': false,
  },
});

async function blow(sockets, seconds) {
  const perBatch = (PER_SECOND * BATCH_MS) / 1000 / CLIENTS;
  const started = performance.now();
  let fired = 0;
  while (performance.now() - started < seconds * 1000) {
    // As many as are due by now: a timer that fires late does not slow the storm down.
    const due = Math.floor(((performance.now() - started) / BATCH_MS) * perBatch) * CLIENTS;
    for (; fired < due; fired += 1) sockets[fired % CLIENTS].emit('panic_async', {});
    await pause(BATCH_MS);
  }
  return fired;
}

set.test(`${PER_SECOND} panics a second for ${SECONDS} s: no flood in the log, no growth`, async () => {
  const baseline = await set.observer.baseline();
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => set.connect('websocket')));
  const panics = (counted) => set.observer.panicsSince(baseline, counted);

  const warm = await blow(sockets, 2);
  await panics(warm);
  const [before, linesBefore] = [resident(set.server.worker()), set.server.lines.length];
  const fired = await blow(sockets, SECONDS);
  await panics(warm + fired);
  assert.ok(fired > 0.8 * PER_SECOND * SECONDS, `the storm was weak: ${fired} panics`);
  const [after, lines] = [resident(set.server.worker()), set.server.lines.length - linesBefore];

  console.log(`storm: ${fired} panics, ${lines} log lines, ${before} KiB before and ${after} KiB after`);
  if (before !== undefined) assert.ok(after - before < GROWTH_KIB, `grew from ${before} to ${after} KiB`);
  // Each printed one has at most three lines of its own, and each second its summary.
  assert.ok(lines < (SECONDS + 3) * (3 * PRINTED_PER_SECOND + 5), `${lines} lines for ${fired} panics`);

  // Printed and left out together are all there were.
  await until(5000, 'the summaries to account for every panic', () => {
    const texts = set.server.lines.map(({ text }) => text);
    const printed = texts.filter((text) => text.includes('Application panic')).length;
    const omitted = texts
      .map((text) => /(\d+) more incidents at this location/.exec(text)?.[1])
      .reduce((sum, count) => sum + Number(count ?? 0), 0);
    if (printed + omitted === warm + fired) return true;
    throw new Error(`${printed} printed and ${omitted} left out of ${warm + fired}`);
  });
  assert.ok(sockets.every((socket) => socket.connected), 'the sockets stay');
  close(...sockets);
});
