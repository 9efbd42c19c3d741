'use strict';
// How soon a process that died is replaced: at once the first time, later after an ever longer time, and never not at all.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { closeAll, connect, dial, echoes } = require('../lib/client');
const { until, within } = require('../lib/deadline');
const { died } = require('../lib/deaths');
const { MIB, memory } = require('../lib/memory');
const { mourning } = require('../lib/mourning');
const { Knocks } = require('../lib/probes');
const { get, startServer } = require('../lib/server');

const BASE_MS = 40;
const CAP_MS = 400;
const ALLOWED = 5;
const DEATHS = 10;
const PARENT_KIB = 5 * MIB;
const LENIENT = { quarantine: false, breakers: false };
const EXCEEDED = /workers die faster than is allowed; the parent does not give up and tries again .*delay=(\S+)/;

/** The milliseconds of a duration as the log has it, such as 0ns, 393.1µs, 27.4ms or 1.2s. */
function milliseconds(text) {
  const [, number, unit] = /^([\d.]+)(ns|µs|ms|s)$/.exec(text);
  return Number(number) * { ns: 1e-6, µs: 1e-3, ms: 1, s: 1000 }[unit];
}

describe('ten deaths in a row', () => {
  const settings = {
    'supervisor.restart_base_ms': BASE_MS,
    'supervisor.restart_cap_ms': CAP_MS,
    'supervisor.restarts': ALLOWED,
  };
  const set = mourning({ name: 'deaths-ten', crowd: { count: 20 }, settings, ...LENIENT });

  set.test('the pauses follow the policy, it goes on all the same, and everybody is back after each', async () => {
    const before = memory(set.server.child.pid);
    const [delays, exceeded] = [[], []];
    for (let death = 1; death <= DEATHS; death += 1) {
      const from = set.server.mark();
      await set.dies(await set.connect(death % 2 ? 'websocket' : 'polling'), 'abort', { data: { death } });
      const told = (pattern) => set.server.lines.slice(from).map(({ text }) => pattern.exec(text)?.[1]).find(Boolean);
      delays.push(milliseconds(told(/another worker is started .*delay=(\S+)/)));
      const beyond = told(EXCEEDED);
      if (beyond) exceeded.push([death, milliseconds(beyond)]);
    }
    console.log(`pauses: ${delays.map((delay) => delay.toFixed(0)).join(', ')} ms`);
    assert.equal(delays[0], 0, 'the first restart is immediate');
    for (let death = 2; death <= ALLOWED; death += 1) {
      const bound = Math.min(CAP_MS, BASE_MS * 2 ** (death - 2));
      assert.ok(delays[death - 1] <= bound, `${delays[death - 1]} ms after death ${death}; ${bound} ms at most`);
    }
    const jittered = delays.slice(1, ALLOWED);
    assert.equal(new Set(jittered).size, jittered.length, 'the pauses are drawn by lot');
    const beyond = Array.from({ length: DEATHS - ALLOWED }, (_, number) => [ALLOWED + 1 + number, CAP_MS]);
    assert.deepEqual(exceeded, beyond, 'the deaths that were too many, with the pause');

    const after = memory(set.server.child.pid);
    if (after === undefined) return;
    console.log(`the parent before ${JSON.stringify(before)} KiB, after ${DEATHS} deaths ${JSON.stringify(after)} KiB`);
    assert.ok(after.resident < PARENT_KIB, `${after.resident} KiB`);
    assert.ok(after.own - before.own < MIB / 2, `it grew from ${before.own} to ${after.own} KiB`);
  });
});

describe('connections while no process serves', () => {
  // The second death is one too many, and the pause after it is certain.
  const PAUSE_MS = 700;
  const settings = { 'supervisor.restarts': 1, 'supervisor.restart_cap_ms': PAUSE_MS };
  const set = mourning({ name: 'deaths-pause', crowd: { count: 20 }, settings, ...LENIENT });

  for (const transport of ['websocket', 'polling']) {
    set.test(`requests and clients over ${transport} that come in the pause wait for the next, and are served`, async () => {
      // Only the deaths after the first are followed by the pause.
      if (transport === 'websocket') await set.dies(await set.connect(transport), 'abort');
      const culprit = await set.connect(transport);
      const from = set.server.mark();
      const since = set.crowd.mark();
      culprit.emit('abort', {});
      await set.server.line(EXCEEDED, { from });
      const started = performance.now();
      const late = dial(set.url, '/lab', transport, { reconnection: false });
      const client = within(5000, 'the client to be let in', new Promise((yes, no) => late.once('connect', yes).once('connect_error', no)));
      const [answer] = await Promise.all([get(`${set.url}/health`, 5000), client]);
      const waited = performance.now() - started;
      assert.equal(answer.status, 200);
      await echoes(late, 'served');
      assert.ok(waited > PAUSE_MS / 2, `they did not wait but ${waited.toFixed(0)} ms`);
      await died(set.server, from);
      await set.crowd.back(since);
      assert.deepEqual(set.crowd.causes(), {}, 'connects that failed');
    });
  }
});

test('supervisor.give_up: too many deaths end the parent with exit code 70', { timeout: 30_000 }, async () => {
  const settings = { 'supervisor.give_up': true, 'supervisor.restarts': 2, 'supervisor.restart_base_ms': 1 };
  const server = await startServer({ name: 'deaths-give-up', supervise: true, settings });
  const bystander = await connect(server.url, '/lab', 'websocket');
  try {
    for (let death = 1; death <= 3; death += 1) {
      const from = server.mark();
      const culprit = await connect(server.url, '/lab', 'websocket', { reconnection: false });
      culprit.emit('abort', {});
      if (death < 3) await died(server, from);
    }
    const { code, signal } = await within(5000, 'the parent to end', server.exited);
    assert.deepEqual({ code, signal }, { code: 70, signal: null });
    await server.line('workers die faster than is allowed; the parent ends');
    // Nobody holds the address any more, and whoever counts refusals sees it.
    const knocks = new Knocks(server.url);
    await until(3000, 'a connection to be refused', () => knocks.refused.includes('ECONNREFUSED'));
    await assert.rejects(knocks.stop());
    assert.ok(!bystander.connected);
  } finally {
    closeAll();
    if (server.alive) await server.stop();
  }
});
