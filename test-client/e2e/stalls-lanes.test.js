'use strict';
// Handlers that block, with lanes: nobody else waits, however many threads are held.

const { stage } = require('../lib/stage');
const { block } = require('../lib/stalls');

const WORST_MS = 250;
const ROUNDS = Number(process.env.ROUNDS ?? 1);

const set = stage({ name: 'stalls-lanes', args: ['--lanes', 'on'] });

for (let round = 1; round <= ROUNDS; round += 1) {
  for (const transport of ['websocket', 'polling']) {
    for (const event of ['block', 'block_sync']) {
      for (const count of [1, 2, 8]) {
        set.test(`${count} × ${event} over ${transport}, round ${round}: nobody else waits ${WORST_MS} ms`, () =>
          block(set, { event, count, transport, worstMs: WORST_MS }),
        );
      }
    }
  }
}
