'use strict';
// Faults that nobody can catch end the process. Whoever caused one is named, and everybody else is back at once.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { DEATHS, OOM, WEDGE, toldRight } = require('../lib/deaths');
const { mourning } = require('../lib/mourning');

const TRANSPORTS = ['websocket', 'polling'];
// A worker that has served for so long dies for the first time: the next is started without a pause.
const FORGIVING = { 'supervisor.restart_reset_ms': 100, 'supervisor.restarts': 1000 };
const ADDRESSES_KIB = 2 * 1024 * 1024;
const WEDGE_MS = 1000;

/** Each death, caused over each transport: two of a kind, so that the second is not stopped yet. */
function deaths(set, kinds, options = {}) {
  for (const death of kinds) {
    for (const transport of TRANSPORTS) {
      set.test(`${death.event} over ${transport}: its socket and event are named, and all others are back`, async () => {
        const culprit = await set.connect(transport);
        const { id } = culprit;
        const words = await set.dies(culprit, death.event, options);
        const { quarantined } = await toldRight(set.server, words, death, id);
        // It shares the address of all others and has said no name.
        assert.deepEqual(quarantined, []);
      });
    }
  }
}

describe('the process', () => {
  deaths(mourning({ name: 'deaths', settings: FORGIVING }), DEATHS);
});

describe('memory', () => {
  deaths(mourning({ name: 'deaths-oom', settings: FORGIVING, addressLimitKib: ADDRESSES_KIB }), [OOM], { ms: 30_000 });
});

describe('all threads', () => {
  const settings = { ...FORGIVING, 'supervisor.wedge_limit_ms': WEDGE_MS };
  deaths(mourning({ name: 'deaths-wedge', settings }), [WEDGE]);
});
