'use strict';
// A handler that blocks the server's own runtime: the other threads go on.

const { stage } = require('../lib/stage');
const { block } = require('../lib/stalls');

const WORST_MS = 50;
const ROUNDS = Number(process.env.ROUNDS ?? 1);

const set = stage({ name: 'stalls-shared', args: ['--lanes', 'off'] });

for (let round = 1; round <= ROUNDS; round += 1) {
  for (const transport of ['websocket', 'polling']) {
    for (const event of ['block', 'block_sync']) {
      set.test(`${event} over ${transport}, round ${round}: nobody else waits ${WORST_MS} ms`, () =>
        block(set, { event, count: 1, transport, worstMs: WORST_MS }),
      );
    }
  }
}
