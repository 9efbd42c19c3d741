'use strict';
// An event that a client sends in its `connect` callback arrives, however early that is.

const assert = require('node:assert/strict');
const { close, dial } = require('../lib/client');
const { within } = require('../lib/deadline');
const { stage } = require('../lib/stage');

const AT_ONCE = 10;
const CONNECTS = { websocket: 300, polling: 200, upgrade: 100 };

const set = stage({ name: 'early-events' });

for (const [transport, count] of Object.entries(CONNECTS)) {
  set.test(`${count} connects over ${transport}, three events each in the connect callback: none lost, all in order`, async () => {
    const baseline = await set.observer.baseline();
    const lost = [];
    let begun = 0;
    const visitor = async () => {
      while (begun < count) {
        const number = (begun += 1);
        await visit(set.url, transport, number).catch((error) => lost.push(`${number}: ${error.message}`));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, visitor));
    assert.deepEqual(lost, []);
    await set.observer.backTo(baseline);
  });
}

async function visit(url, transport, number) {
  const socket = dial(url, '/lab', transport, { reconnection: false });
  const echoed = [];
  socket.on('echo', (data) => echoed.push(data));
  try {
    const answers = await within(
      5000,
      'the answers to three early events',
      new Promise((resolve, reject) => {
        socket.once('connect_error', reject);
        socket.once('disconnect', (reason) => reject(new Error(`disconnected: ${reason}`)));
        socket.once('connect', () => {
          const early = ['first', 'second', 'third'].map((word) => socket.emitWithAck('echo', `${number} ${word}`));
          Promise.all(early).then(resolve, reject);
        });
      }),
    );
    const expected = ['first', 'second', 'third'].map((word) => `${number} ${word}`);
    assert.deepEqual(answers, expected);
    assert.deepEqual(echoed, expected);
  } finally {
    socket.off('disconnect');
    close(socket);
  }
}
