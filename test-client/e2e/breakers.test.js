'use strict';
// An event in which different clients crash is switched off for everyone for a while, and tried again by one.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { close, echoes } = require('../lib/client');
const { until } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const NEEDED = 3;
const LONG_MS = 60_000;
const OPEN_MS = 500;
const REFUSED_MS = 100;

let last = 0;
/** A client with a name that nobody had before. */
async function guest(set, transport, name = `user:${(last += 1)}`) {
  const offender = new Offender(await set.connect(transport, { reconnection: false }));
  assert.equal(await offender.socket.timeout(3000).emitWithAck('identify', name), null);
  return offender;
}

/** `count` clients, each with a name of its own, crash in `event`. */
async function crash(set, transport, event, count) {
  for (let done = 0; done < count; done += 1) {
    const offender = await guest(set, transport);
    await offender.sinks((socket) => socket.emit(event, {}));
    close(offender.socket);
  }
}

function ask(socket, event) {
  return socket.timeout(3000).emitWithAck(event, {});
}

/** Its answer is that the event is switched off. Answers for how long. */
async function checkOpen(socket, event) {
  const started = performance.now();
  const answer = await ask(socket, event);
  const took = performance.now() - started;
  assert.equal(answer?.code, 'breaker_open', JSON.stringify(answer));
  assert.deepEqual(Object.keys(answer).sort(), ['code', 'message', 'retryAfterMs']);
  assert.ok(took < REFUSED_MS, `answered after ${took.toFixed(0)} ms`);
  return answer.retryAfterMs;
}

for (const lanes of ['on', 'off']) {
  describe(`switched off, lanes ${lanes}`, () => {
    const set = stage({
      name: `breakers-${lanes}`,
      breakers: true,
      args: ['--lanes', lanes],
      settings: { 'recovery.breaker_open_ms': LONG_MS },
    });

    const cases = [['websocket', 'panic_sync'], ['websocket', 'panic_async'], ['polling', 'panic_spawned'], ['polling', 'panic_extract']];
    for (const [transport, event] of cases) {
      set.test(`${event} over ${transport}: ${NEEDED} clients crash, the next is refused at once`, async () => {
        const baseline = await set.observer.baseline();
        const from = set.server.mark();
        await crash(set, transport, event, NEEDED);
        await set.server.line(`⛔ Switched off for everyone for a while: event /lab ${event}`, { from });
        const before = await set.observer.stats();

        const next = await guest(set, transport);
        const retryMs = await checkOpen(next.socket, event);
        assert.ok(retryMs > 0 && retryMs <= LONG_MS, `${retryMs} ms`);
        // Also for who has not been asked its name, and without an ack nothing happens at all.
        const nameless = new Offender(await set.connect(transport, { reconnection: false }));
        nameless.socket.emit(event, {});
        await checkOpen(nameless.socket, event);
        assert.equal((await set.observer.stats()).panics, before.panics, 'no handler ran');

        // All else works.
        await echoes(next.socket, 'and yet');
        assert.equal(await ask(next.socket, 'slow_ack'), 'slow');
        assert.deepEqual([...next.words(), ...nameless.words()], []);
        close(next.socket, nameless.socket);
        await set.observer.backTo(baseline);
      });
    }

    set.test('one client that crashes again and again switches nothing off', async () => {
      const baseline = await set.observer.baseline();
      const name = `user:${(last += 1)}`;
      for (let count = 0; count < 5; count += 1) {
        const offender = await guest(set, 'websocket', name);
        await offender.sinks((socket) => socket.emit('panic_async0', {}));
        close(offender.socket);
      }
      // Nor do many without a name of their own: they share an address.
      for (let count = 0; count < 2; count += 1) {
        const offender = new Offender(await set.connect('polling', { reconnection: false }));
        await offender.sinks((socket) => socket.emit('panic_drop', {}));
      }
      await set.observer.panicsSince(baseline, 7);
      const next = await guest(set, 'websocket');
      await next.sinks((socket) => socket.emit('panic_async0', {}));
      await set.observer.backTo(baseline);
    });
  });

  describe(`tried again, lanes ${lanes}`, () => {
    const set = stage({
      name: `breakers-tried-${lanes}`,
      breakers: true,
      args: ['--lanes', lanes],
      settings: { 'recovery.breaker_open_ms': OPEN_MS },
    });

    for (const [transport, event] of [['websocket', 'panic_sync'], ['polling', 'panic_async']]) {
      // One handler has all events that nobody else handles. It panics for one of them only.
      set.test(`over ${transport}: a try that works switches it on`, async () => {
        await crash(set, transport, 'panic_fallback', NEEDED);
        const next = await guest(set, transport);
        await checkOpen(next.socket, 'anything');
        const answer = await until(2 * OPEN_MS, 'the try to be let through', async () => {
          const one = await ask(next.socket, 'anything');
          return one.code !== 'breaker_open' && one;
        });
        assert.deepEqual(answer, { error: 'unknown_event' });
        const others = await Promise.all([1, 2, 3].map(() => guest(set, transport)));
        const answers = await Promise.all(others.map(({ socket }) => ask(socket, 'anything')));
        assert.deepEqual(answers, answers.map(() => ({ error: 'unknown_event' })), 'on for everyone');
        assert.deepEqual(next.words(), []);
        close(next.socket, ...others.map(({ socket }) => socket));
      });

      set.test(`over ${transport}: one may try; when it crashes, twice as long for all`, async () => {
        await crash(set, transport, event, NEEDED);
        const before = await set.observer.stats();
        // Their clients' clocks do not agree; all ask again when they were told to.
        const crowd = await Promise.all(Array.from({ length: 6 }, () => guest(set, transport)));
        const told = await checkOpen(crowd[0].socket, event);
        assert.ok(told <= OPEN_MS, `${told} ms`);
        const panics = async () => (await set.observer.stats()).panics - before.panics;
        await until(3 * OPEN_MS, 'one try', async () => {
          for (const { socket } of crowd) if (socket.connected) socket.emit(event, {});
          return (await panics()) > 0;
        });
        assert.equal(await panics(), 1, 'one try and no more');
        const left = await until(2000, 'the one that tried to sink', () => {
          const sunk = crowd.filter(({ socket }) => !socket.connected);
          return sunk.length > 0 && crowd.filter(({ socket }) => socket.connected);
        });
        assert.equal(left.length, crowd.length - 1);
        const again = await checkOpen(left[0].socket, event);
        assert.ok(again > OPEN_MS && again <= 2 * OPEN_MS, `${again} ms`);
        assert.equal(await panics(), 1);
        close(...crowd.map(({ socket }) => socket));
      });
    }
  });
}

describe('connects', () => {
  const set = stage({
    name: 'breakers-connect',
    breakers: true,
    settings: { 'recovery.breaker_open_ms': LONG_MS, 'server.connect_timeout_ms': 1000, 'server.trusted_proxies': '127.0.0.1' },
  });
  const PLACES = { '/lab_bad_connect': 1, '/lab_bad_middleware': 2 };

  for (const [namespace, net] of Object.entries(PLACES)) {
    set.test(`${namespace}: ${NEEDED} clients crash, the next is refused and no code of the namespace runs`, async () => {
      const from = (number) => ({ reconnection: false, extraHeaders: { 'X-Forwarded-For': `203.0.${net}.${number}` } });
      const baseline = await set.observer.baseline();
      for (let number = 1; number <= NEEDED; number += 1) {
        const socket = await set.connect('websocket', from(number), namespace).catch(() => undefined);
        if (socket) await until(3000, 'the connection to sink', () => !socket.connected);
      }
      await set.observer.panicsSince(baseline, NEEDED);
      const refused = await set.connect('websocket', from(99), namespace).then(() => 'let in', (error) => error.message);
      assert.match(refused, /^breaker_open; retry after \d+ ms/);
      await set.observer.panicsSince(baseline, NEEDED);
      const elsewhere = await set.connect('websocket', from(99));
      await echoes(elsewhere, 'all else works');
      close(elsewhere);
    });
  }
});
