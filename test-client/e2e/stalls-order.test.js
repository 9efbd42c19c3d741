'use strict';
// A handler that blocks its thread for a moment is named in the log and forgiven; meanwhile the others' events keep
// their order and their pace.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { close } = require('../lib/client');
const { until, within } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { get } = require('../lib/server');
const { stage } = require('../lib/stage');

const WARN_MS = 250;
// Long enough to be warned of, and shorter than the limit of two seconds.
const SHORT_MS = 900;
const BLOCKED = 8;
const HEALTH_MS = 100;
const SLOW_MS = 600;
// No more than the server holds for a client at once.
const EVENTS = 100;

const ENDED = /🧱 A handler has returned its thread/;
const HOLDS = /🧱 A handler holds its thread and does not return/;

/** A client whose handler blocks from now on. `released` is its answer, also in `heard`. */
async function blocking(set, transport, event) {
  const socket = await set.connect(transport, { reconnection: false });
  const offender = new Offender(socket);
  const heard = [];
  const released = new Promise((resolve) => {
    socket.emit(event, { ms: SHORT_MS }, (answer) => (heard.push(answer), resolve(answer)));
  });
  return { socket, offender, released, heard };
}

/** Everyone's handler has returned and nobody was told anything. */
async function allForgiven(set, blockers, baseline) {
  for (const { offender, released } of blockers) {
    assert.equal(await within(SHORT_MS + 3000, 'the handler to return', released), 'released');
    assert.deepEqual(offender.words(), [], 'nothing was held against it');
  }
  close(...blockers.map(({ socket }) => socket));
  await set.observer.backTo(baseline, { ms: 2000 });
}

describe('a short stall is only warned of', () => {
  for (const lanes of ['on', 'off']) {
    const set = stage({ name: `stalls-warned-${lanes}`, args: ['--lanes', lanes] });

    for (const event of ['block', 'block_sync']) {
      set.test(`lanes ${lanes}: ${event} for ${SHORT_MS} ms names socket, event and thread`, async () => {
        const baseline = await set.observer.baseline();
        const from = set.server.mark();
        const blocker = await blocking(set, 'websocket', event);
        const { id } = blocker.socket;
        for (const pattern of [HOLDS, ENDED]) {
          const line = await set.server.line(pattern, { from });
          assert.match(line, new RegExp(`socket_id="?${id}`));
          assert.match(line, new RegExp(`activity="?event /lab ${event}"?`));
          assert.match(line, lanes === 'on' ? /thread="?lane-\d+/ : /thread="?tokio-/);
          assert.ok(Number(/held_ms=(\d+)/.exec(line)?.[1]) >= WARN_MS, line);
        }
        await allForgiven(set, [blocker], baseline);
        const warned = set.server.lines.slice(from).filter(({ text }) => HOLDS.test(text));
        assert.equal(warned.length, 1, 'warned of once');
        assert.ok(!set.server.lines.slice(from).some(({ text }) => text.includes('Disconnecting problematic socket')));
      });
    }
  }
});

describe(`while ${BLOCKED} handlers block`, () => {
  const set = stage({ name: 'stalls-order', args: ['--lanes', 'on'] });

  for (const transport of ['websocket', 'polling']) {
    // `block` does so in its future, which others may overtake.
    set.test(`block_sync over ${transport}: its own later events come after it, in order`, async () => {
      const baseline = await set.observer.baseline();
      const blocker = await blocking(set, transport, 'block_sync');
      const { heard } = blocker;
      blocker.socket.on('echo', (number) => heard.push(number));
      for (let number = 0; number < EVENTS; number += 1) blocker.socket.emit('echo', number);
      await until(SHORT_MS + 2000, `all ${EVENTS} echoes`, () => heard.length > EVENTS);
      assert.deepEqual(heard, ['released', ...Array.from({ length: EVENTS }, (_, number) => number)]);
      await allForgiven(set, [blocker], baseline);
    });

    for (const event of ['block', 'block_sync']) {
      set.test(`${event} over ${transport}: another's events keep their order`, async () => {
        const baseline = await set.observer.baseline();
        const other = await set.connect(transport, { reconnection: false });
        const echoed = [];
        other.on('echo', (number) => echoed.push(number));
        const blockers = await Promise.all(Array.from({ length: BLOCKED }, () => blocking(set, transport, event)));
        for (let number = 0; number < EVENTS; number += 1) other.emit('echo', number);
        await until(2000, `all ${EVENTS} echoes`, () => echoed.length >= EVENTS);
        assert.deepEqual(echoed, Array.from({ length: EVENTS }, (_, number) => number));
        close(other);
        await allForgiven(set, blockers, baseline);
      });

      set.test(`${event} over ${transport}: /health answers within ${HEALTH_MS} ms`, async () => {
        const baseline = await set.observer.baseline();
        const blockers = await Promise.all(Array.from({ length: BLOCKED }, () => blocking(set, transport, event)));
        const took = [];
        let released = false;
        Promise.all(blockers.map((blocker) => blocker.released)).then(() => (released = true), () => {});
        while (!released) {
          const asked = performance.now();
          const { body } = await get(`${set.url}/health`, HEALTH_MS);
          took.push(performance.now() - asked);
          assert.equal(body.trim(), 'OK');
        }
        const worst = Math.max(...took);
        console.log(`${BLOCKED} × ${event} over ${transport}: ${took.length} × /health, worst ${worst.toFixed(1)} ms`);
        assert.ok(worst < HEALTH_MS, `${worst.toFixed(1)} ms`);
        await allForgiven(set, blockers, baseline);
      });

      set.test(`${event} over ${transport}: an ack that was on its way comes in time`, async () => {
        const baseline = await set.observer.baseline();
        const other = await set.connect(transport, { reconnection: false });
        const blockers = await Promise.all(
          Array.from({ length: BLOCKED }, async () => set.connect(transport, { reconnection: false })),
        );
        const started = performance.now();
        const slow = other.timeout(3000).emitWithAck('slow_ack', {});
        // Its answer comes after whatever was sent before: the handler has started.
        await other.timeout(3000).emitWithAck('echo', 'first');
        const released = Promise.all(
          blockers.map((socket) => socket.timeout(5000).emitWithAck(event, { ms: SHORT_MS })),
        );
        assert.equal(await slow, 'slow');
        const took = performance.now() - started;
        assert.ok(took >= SLOW_MS - 20 && took < SLOW_MS + 200, `slow_ack answered after ${took.toFixed(0)} ms`);
        await released;
        close(other, ...blockers);
        await set.observer.backTo(baseline, { ms: 2000 });
      });
    }
  }
});
