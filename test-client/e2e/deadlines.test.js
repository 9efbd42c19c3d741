'use strict';
// Handlers that take too long: told, closed and forgotten at their deadline, and not a moment before.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { close, echoes } = require('../lib/client');
const { within } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const DEADLINE_MS = 400;
const OWN_MS = 300;
const GENEROUS_MS = 2000;
const SLOW_MS = 600;
// The recovery's own time, on a machine that does much else.
const LATE_MS = 500;
const GOODBYE_MS = 700;

/** The handler hangs, and its client is told after `ms`. */
async function hangs(set, transport, ms) {
  const baseline = await set.observer.baseline();
  const offender = new Offender(await set.connect(transport));
  const fate = await offender.sinks(
    (socket) => socket.timeout(5000).emitWithAck('hang').then((value) => ({ value }), (error) => ({ error })),
    { code: 'deadline' },
  );
  assert.ok(fate.toldMs > ms - 50, `told after ${fate.toldMs.toFixed(0)} ms`);
  assert.ok(fate.toldMs < ms + LATE_MS, `told after ${fate.toldMs.toFixed(0)} ms`);
  const { value, error } = await within(1000, 'the ack to end', fate.answers);
  assert.ok(error || value?.code === 'deadline', `the ack was answered with ${JSON.stringify(value)}`);

  await offender.hears('connect');
  assert.notEqual(offender.socket.id, offender.id, 'a new connection');
  await echoes(offender.socket, 'on deck again');
  close(offender.socket);
  await set.observer.backTo(baseline);
  await set.observer.panicsSince(baseline, 0);
}

for (const lanes of ['on', 'off']) {
  describe(`lanes ${lanes}`, () => {
    const args = ['--lanes', lanes];
    const strict = stage({
      name: `deadlines-${lanes}`,
      args: [...args, '--handler-deadline', `${DEADLINE_MS}ms`],
      settings: { 'recovery.disconnect_deadline_ms': GOODBYE_MS },
    });
    const lenient = stage({
      name: `deadlines-own-${lanes}`,
      args: [...args, '--handler-deadline', `${GENEROUS_MS}ms`],
      settings: { 'detection.deadlines': `/lab hang ${OWN_MS}ms` },
    });

    for (const transport of ['websocket', 'polling', 'upgrade']) {
      strict.test(`${transport}: the deadline of all handlers`, () => hangs(strict, transport, DEADLINE_MS));

      lenient.test(`${transport}: a deadline of the event's own`, () => hangs(lenient, transport, OWN_MS));

      lenient.test(`${transport}: a slow handler within its deadline is not touched`, async () => {
        const socket = await lenient.connect(transport, { reconnection: false });
        const offender = new Offender(socket);
        const started = performance.now();
        const answers = await Promise.all([1, 2, 3].map(() => socket.timeout(3000).emitWithAck('slow_ack', {})));
        assert.deepEqual(answers, ['slow', 'slow', 'slow']);
        assert.ok(performance.now() - started >= SLOW_MS - 20);
        assert.deepEqual(offender.words(), []);
        close(socket);
      });

      strict.test(`${transport}: a disconnect handler that hangs`, async () => {
        const baseline = await strict.observer.baseline();
        const from = strict.server.mark();
        const room = `goodbye-${lanes}-${transport}`;
        const socket = await strict.connect(transport, { reconnection: false });
        const { id } = socket;
        await socket.timeout(3000).emitWithAck('join', room);
        await socket.timeout(3000).emitWithAck('arm_disconnect_hang');
        socket.disconnect();

        // The clean-up does not wait for the handler.
        const left = performance.now();
        await strict.observer.backTo({ ...baseline, tasks: Infinity }, { rooms: [room], ms: 1000 });
        const line = await strict.server.line(new RegExp(`fault="?deadline`), { from });
        assert.ok(line.includes(id), `of this socket: ${line}`);
        assert.match(line, /disconnect \/lab/);
        assert.ok(performance.now() - left < GOODBYE_MS + LATE_MS, 'in time');
        await strict.observer.backTo(baseline);
        close(socket);
      });
    }
  });
}
