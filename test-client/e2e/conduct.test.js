'use strict';
// Clients that misbehave without any fault of the server: warned first, then cut; lively ones are left alone.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { close, echoes } = require('../lib/client');
const { next, until } = require('../lib/deadline');
const { MIB, resident } = require('../lib/memory');
const { Offender, checkIncident } = require('../lib/offender');
const { RawPolling, RawWebSocket } = require('../lib/raw');
const { stage } = require('../lib/stage');

const WARN = 10;
const CUT = 20;

/** Sends `event` so often, each with an ack. Answers what the acks were answered with, or why not. */
function send(socket, event, count) {
  return Array.from({ length: count }, () =>
    socket.timeout(3000).emitWithAck(event, {}).then((value) => ({ value }), (error) => ({ error })),
  );
}

for (const lanes of ['on', 'off']) {
  describe(`lanes ${lanes}`, () => {
    const set = stage({ name: `conduct-${lanes}`, args: ['--lanes', lanes] });

    for (const transport of ['websocket', 'polling', 'upgrade']) {
      for (const [event, weight] of [['unknown', 1], ['handler_error', 0.5]]) {
        set.test(`${event} over ${transport}: a warning, then the end`, async () => {
          const baseline = await set.observer.baseline();
          const offender = new Offender(await set.connect(transport));
          const { socket } = offender;
          const warnings = [];
          socket.on('warning', (...args) => warnings.push(args));

          const [warned] = await Promise.all([next(socket, 'warning', 3000), ...send(socket, event, WARN / weight)]);
          assert.equal(warned.length, 1);
          checkIncident(warned[0], { code: 'protocol' });
          await echoes(socket, 'still on board');
          assert.deepEqual(offender.words(), []);

          const fate = await offender.sinks(() => send(socket, event, (CUT - WARN) / weight + 2), { code: 'protocol' });
          assert.notEqual(fate.incident.id, warned[0].id);
          assert.equal(warnings.length, 1, 'warned once');
          await offender.hears('connect');
          await echoes(socket, 'back on board');
          close(socket);
          await set.observer.backTo(baseline);
          await set.observer.panicsSince(baseline, 0);
        });
      }

      set.test(`fewer than ${WARN} unknown events over ${transport} are nobody's business`, async () => {
        const socket = await set.connect(transport, { reconnection: false });
        const offender = new Offender(socket);
        socket.on('warning', () => assert.fail('warned'));
        const answers = await Promise.all(send(socket, 'unknown', WARN - 2));
        assert.ok(answers.every(({ value }) => value?.error === 'unknown_event'), JSON.stringify(answers));
        await echoes(socket, 'here');
        assert.deepEqual(offender.words(), []);
        close(socket);
      });
    }
  });
}

describe('floods', () => {
  const PER_SECOND = 100;
  const BURST = 200;
  const set = stage({
    name: 'conduct-flood',
    settings: { 'detection.messages_per_second': PER_SECOND, 'detection.message_burst': BURST },
  });

  for (const transport of ['websocket', 'polling']) {
    set.test(`beyond its rate over ${transport}: refused, not handled, then the end`, async () => {
      const baseline = await set.observer.baseline();
      const offender = new Offender(await set.connect(transport));
      const { socket } = offender;
      const echoed = [];
      const refused = [];
      socket.on('echo', (number) => echoed.push(number));
      const fate = await offender.sinks(
        () => {
          for (let number = 0; number < 3 * BURST; number += 1) {
            // Within its burst nobody waits for an answer, so that all answers to the rest have room.
            if (number < BURST) socket.emit('slow_ack', {});
            else socket.emit('echo', number, (answer) => refused.push(answer));
          }
        },
        { code: 'flood' },
      );
      assert.ok(fate.incident.id);
      assert.ok(refused.length > 0, 'somebody was told');
      const limited = refused.filter((answer) => answer?.code === 'rate_limited');
      // What its rate allows meanwhile is answered as ever.
      assert.ok(limited.length >= refused.length - echoed.length && limited.length > 0, JSON.stringify(refused));
      for (const answer of limited) assert.ok(answer.retryAfterMs > 0 && typeof answer.message === 'string');
      assert.ok(echoed.length < PER_SECOND, `${echoed.length} were handled all the same`);
      await set.server.line(/🌊 A client floods/);

      await offender.hears('connect');
      await echoes(socket, 'calm again');
      close(socket);
      await set.observer.backTo(baseline, { ms: 2000 });
    });
  }
});

describe('lively clients', () => {
  const MESSAGES = 5000;
  // Half of what the server holds for a client that is about to read it.
  const ON_THE_WAY = 64;

  for (const lanes of ['on', 'off']) {
    const set = stage({ name: `conduct-lively-${lanes}`, args: ['--lanes', lanes] });

    for (const transport of ['websocket', 'polling']) {
      set.test(`lanes ${lanes}: ${MESSAGES} quick messages over ${transport} come back in order`, async () => {
        const socket = await set.connect(transport, { reconnection: false });
        const offender = new Offender(socket);
        const echoed = [];
        let sent = 0;
        const more = () => {
          while (sent < MESSAGES && sent - echoed.length < ON_THE_WAY) socket.emit('echo', sent++);
        };
        socket.on('echo', (number) => (echoed.push(number), more()));
        socket.on('warning', (warning) => assert.fail(JSON.stringify(warning)));
        more();
        await until(30_000, `${MESSAGES} echoes`, () => echoed.length >= MESSAGES);
        assert.deepEqual(echoed, Array.from({ length: MESSAGES }, (_, number) => number));
        assert.deepEqual(offender.words(), []);
        close(socket);
      });

      set.test(`lanes ${lanes}: ${MESSAGES} messages at once over ${transport} are all handled`, async () => {
        const baseline = await set.observer.baseline();
        const socket = await set.connect(transport, { reconnection: false });
        const offender = new Offender(socket);
        socket.on('warning', (warning) => assert.fail(JSON.stringify(warning)));
        // What is handled shows in the rooms, and the client waits for no answer.
        for (let number = 0; number < MESSAGES; number += 1) socket.emit('join', `lively-${number}`);
        const rooms = async () => {
          const names = Object.keys((await set.observer.stats()).rooms);
          return names.filter((name) => name.startsWith('lively-')).length;
        };
        await until(20_000, `${MESSAGES} rooms`, async () => (await rooms()) === MESSAGES, 100);
        assert.deepEqual(offender.words(), []);
        close(socket);
        await set.observer.backTo(baseline, { ms: 3000 });
        assert.equal(await rooms(), 0);
      });
    }
  }
});

describe('a client that does not read', () => {
  const GROWTH_KIB = 32 * MIB;
  const CUT_MS = 30_000;

  for (const lanes of ['on', 'off']) {
    const set = stage({ name: `conduct-deaf-${lanes}`, args: ['--lanes', lanes] });

    /** Floods a client that takes nothing from now on, until it is cut. */
    async function floods(transport, send, baseline) {
      const pid = set.server.worker();
      const before = resident(pid);
      const from = set.server.mark();
      const started = performance.now();
      for (let count = 0; count < 4; count += 1) await send('42/lab,["flood_me",{"count":20000,"bytes":16384}]');

      let highest = before;
      await until(CUT_MS, 'the log to say that it does not read', () => {
        highest = Math.max(highest, resident(pid) ?? 0);
        return set.server.lines.slice(from).some(({ text }) => /slow_consumer/.test(text) && /verdict=Disconnect/.test(text));
      });
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      const held = ((highest - before) / MIB).toFixed(1);
      console.log(`lanes ${lanes}, ${transport}: cut after ${seconds} s, ${held} MiB held at most`);
      if (before !== undefined) assert.ok(highest - before < GROWTH_KIB, `from ${before} to ${highest} KiB`);
      await set.observer.backTo(baseline, { ms: 3000 });
    }

    set.test(`lanes ${lanes}: the server does not hold what it sends for it, and cuts it`, async () => {
      const baseline = await set.observer.baseline();
      const raw = await RawWebSocket.open(set.url);
      await raw.join('/lab');
      raw.deafen();
      await floods('websocket', (packet) => raw.send(packet), baseline);
      raw.vanish();
    });

    set.test(`lanes ${lanes}: nor what one that polls does not fetch`, async () => {
      const baseline = await set.observer.baseline();
      const raw = await RawPolling.open(set.url);
      await raw.join('/lab');
      await floods('polling', (packet) => raw.post(packet), baseline);
    });
  }
});
