'use strict';
// A short soak with everything on that could blame anybody; `npm run soak` is the long one.

const assert = require('node:assert/strict');
const { describe } = require('node:test');
const { soak } = require('../lib/soak');
const { stage } = require('../lib/stage');

const SECONDS = 15;

for (const lanes of ['on', 'off']) {
  describe(`lanes ${lanes}`, () => {
    const set = stage({ name: `soak-${lanes}`, quarantine: true, breakers: true, args: ['--lanes', lanes] });

    set.test(`${SECONDS} s of busy, idle and slow clients, and nobody is blamed`, async () => {
      const baseline = await set.observer.baseline();
      const { clients, echoes } = await soak(set.server, { seconds: SECONDS });
      console.log(`lanes ${lanes}: ${clients} clients, ${echoes} echoes`);
      assert.ok(echoes > 1000, `${echoes} echoes`);
      await set.observer.backTo(baseline, { ms: 2000 });
    });
  });
}
