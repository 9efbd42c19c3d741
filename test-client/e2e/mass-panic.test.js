'use strict';
// A hundred sockets panic in the same instant: each is named, and only they are.

const assert = require('node:assert/strict');
const { close, echoes } = require('../lib/client');
const { LIVE_FAULTS } = require('../lib/faults');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const CROWD = 100;
const TRANSPORTS = ['websocket', 'polling', 'upgrade'];
// Where the panic happens decides how it is attributed, so the crowd panics everywhere at once.
const MIXED = LIVE_FAULTS.filter(({ name }) => name !== 'panic_transport');

const set = stage({ name: 'mass-panic' });

async function crowd(transportOf, options = {}) {
  const offenders = [];
  // Ten at a time: the connects are not what is tested here.
  for (let first = 0; first < CROWD; first += 10) {
    const some = Array.from({ length: 10 }, async (_, offset) => {
      const socket = await set.connect(transportOf(first + offset), { reconnection: false, ...options });
      await socket.timeout(5000).emitWithAck('join', `crowd-${(first + offset) % 7}`);
      return new Offender(socket);
    });
    offenders.push(...(await Promise.all(some)));
  }
  return offenders;
}

const rooms = Array.from({ length: 7 }, (_, number) => `crowd-${number}`);

for (const transport of TRANSPORTS) {
  set.test(`${CROWD} sockets panic at once over ${transport}: each has its own incident`, async () => {
    const baseline = await set.observer.baseline();
    const offenders = await crowd(() => transport);
    const fates = await Promise.all(
      offenders.map((offender) => offender.sinks((socket) => socket.emit('panic_async', {}), { ms: 10_000 })),
    );
    assert.equal(new Set(fates.map(({ incident }) => incident.id)).size, CROWD, 'distinct incidents');
    await set.observer.backTo(baseline, { rooms, ms: 1000 });
    await set.observer.panicsSince(baseline, CROWD);
  });
}

set.test(`${CROWD} sockets panic at once, everywhere and over every transport; all come back`, async () => {
  const baseline = await set.observer.baseline();
  const offenders = await crowd((number) => TRANSPORTS[number % TRANSPORTS.length], { reconnection: true });
  const fates = await Promise.all(
    offenders.map((offender, number) => {
      const fault = MIXED[number % MIXED.length];
      return offender.sinks((socket) => fault.fire(socket, { ack: false }), { ms: 10_000 });
    }),
  );
  assert.equal(new Set(fates.map(({ incident }) => incident.id)).size, CROWD, 'distinct incidents');
  await Promise.all(offenders.map((offender) => offender.hears('connect', { ms: 10_000 })));
  await Promise.all(offenders.map((offender, number) => echoes(offender.socket, number, 10_000)));
  close(...offenders.map(({ socket }) => socket));
  await set.observer.backTo(baseline, { rooms, ms: 3000 });
  await set.observer.panicsSince(baseline, CROWD);
});
