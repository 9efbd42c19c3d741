'use strict';
// Every fault of the lab while its connection lives, over every transport.

const assert = require('node:assert/strict');
const { close, echoes } = require('../lib/client');
const { within } = require('../lib/deadline');
const { LIVE_FAULTS } = require('../lib/faults');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const OFFENDERS = 5;

const set = stage({ name: 'faults-live' });

for (const transport of ['websocket', 'polling', 'upgrade']) {
  for (const fault of LIVE_FAULTS) {
    const mayBeUntold = fault.mayBeUntold.includes(transport);

    set.test(`${fault.name} over ${transport}: told, closed, forgotten within a second`, async () => {
      const baseline = await set.observer.baseline();
      const rooms = Array.from({ length: OFFENDERS }, (_, number) => `${fault.name}-${transport}-${number}`);
      const offenders = await Promise.all(
        rooms.map(async (room) => {
          const socket = await set.connect(transport, { reconnection: false });
          await socket.timeout(3000).emitWithAck('join', room);
          return new Offender(socket);
        }),
      );

      const fates = await Promise.all(
        offenders.map((offender) => offender.sinks((socket) => fault.fire(socket, { ack: false }), { mayBeUntold })),
      );
      await set.observer.backTo(baseline, { rooms, ms: 1000 });
      await set.observer.panicsSince(baseline, OFFENDERS);

      const ids = fates.filter(({ incident }) => incident).map(({ incident }) => incident.id);
      assert.equal(new Set(ids).size, ids.length, 'one incident per offender');
      for (const { socket } of offenders) assert.ok(!socket.connected, 'nobody asked it to reconnect');
    });

    set.test(`${fault.name} over ${transport}, ack asked: no ack hangs, the client comes back`, async () => {
      const baseline = await set.observer.baseline();
      const offender = new Offender(await set.connect(transport));

      const fate = await offender.sinks((socket) => fault.fire(socket, { ack: true }), { mayBeUntold });
      const answers = await within(2000, 'the pending acks to end', fate.answers);
      for (const { value, error } of answers) {
        const failed = error || value?.error || value?.code;
        assert.ok(failed || fault.mayBeAnswered, `the ack was answered with ${JSON.stringify(value)}`);
      }

      await offender.hears('connect');
      assert.notEqual(offender.socket.id, offender.id, 'a new connection');
      await echoes(offender.socket, { after: fault.name });
      assert.equal(offender.words().filter((word) => word === 'disconnect').length, 1, 'it sank once');

      close(offender.socket);
      await set.observer.backTo(baseline);
      await set.observer.panicsSince(baseline, 1);
    });
  }
}
