'use strict';
// The lab when nothing is wrong, and acks that are on their way when something is.

const assert = require('node:assert/strict');
const { performance } = require('node:perf_hooks');
const { close, echoes } = require('../lib/client');
const { next, within } = require('../lib/deadline');
const { Ears } = require('../lib/game');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const SLOW_MS = 600;

const set = stage({ name: 'lab' });

for (const transport of ['websocket', 'polling', 'upgrade']) {
  set.test(`echo over ${transport} returns any data, as event and as ack`, async () => {
    const socket = await set.connect(transport, { reconnection: false });
    for (const data of ['words', 7, null, true, [1, [2]], { deep: { é: '🚢' } }, 'x'.repeat(50_000)]) {
      const echoed = next(socket, 'echo', 3000);
      await echoes(socket, data);
      assert.deepEqual(await echoed, [data]);
    }
    close(socket);
  });

  set.test(`a room's message over ${transport} reaches all in it, the sender too, and nobody else`, async () => {
    const sockets = await Promise.all([1, 2, 3].map(() => set.connect(transport, { reconnection: false })));
    const ears = sockets.map((socket) => new Ears(socket));
    const [sender, member, stranger] = sockets;
    await Promise.all([sender, member].map((socket) => socket.timeout(3000).emitWithAck('join', `room-${transport}`)));
    assert.equal((await set.observer.stats()).rooms[`room-${transport}`], 2);

    sender.emit('room_msg', { room: `room-${transport}`, data: 'land ahoy' });
    await ears[0].hear('room_msg', 'land ahoy');
    await ears[1].hear('room_msg', 'land ahoy');
    // Its own echo comes after whatever was sent to it before.
    await echoes(stranger, 'anything?');
    assert.equal(ears[2].among(['land ahoy']), undefined);
    close(...sockets);
  });

  set.test(`an ack that is on its way over ${transport} ends when its own socket sinks, and no other`, async () => {
    const offender = new Offender(await set.connect(transport, { reconnection: false }));
    const other = await set.connect(transport, { reconnection: false });
    const started = performance.now();
    const own = offender.socket.timeout(5000).emitWithAck('slow_ack', {}).then(() => 'answered', () => 'failed');
    const others = other.timeout(5000).emitWithAck('slow_ack', {}).then(() => 'answered', () => 'failed');
    await offender.sinks((socket) => socket.emit('panic_async', {}));

    assert.equal(await within(1000, 'the own ack to end', own), 'failed');
    assert.equal(await others, 'answered');
    const took = performance.now() - started;
    assert.ok(took >= SLOW_MS - 20, `slow_ack answered after ${took} ms`);
    close(other);
  });
}
