'use strict';
// One process without a parent, which a death ends; and a server without the lab, which nobody can have die.

const assert = require('node:assert/strict');
const { afterEach, describe, test } = require('node:test');
const { close, closeAll, connect, dial, echoes } = require('../lib/client');
const { next, until, within } = require('../lib/deadline');
const { DEATHS, OOM, WEDGE } = require('../lib/deaths');
const { children } = require('../lib/processes');
const { Knocks } = require('../lib/probes');
const { stage } = require('../lib/stage');
const { startServer } = require('../lib/server');

const TRANSPORTS = ['websocket', 'polling'];

describe('--no-supervise', () => {
  afterEach(() => closeAll());

  for (const transport of TRANSPORTS) {
    test(`it is one process, and abort over ${transport} ends it for everybody`, async () => {
      const server = await startServer({ name: `alone-${transport}`, supervise: false });
      try {
        assert.deepEqual(children(server.child.pid), [], 'its children');
        const bystander = await connect(server.url, '/lab', transport);
        await echoes(bystander, 'before');
        const culprit = await connect(server.url, '/lab', transport, { reconnection: false });
        const lost = next(bystander, 'disconnect', 3000);
        culprit.emit('abort', {});
        const { code, signal } = await within(5000, 'the process to end', server.exited);
        assert.deepEqual({ code, signal }, { code: null, signal: 'SIGABRT' });
        await lost;
        assert.ok(!server.lines.some(({ text }) => /a worker is started|💀/u.test(text)), 'it is not started again');
        // Nobody holds the address.
        const knocks = new Knocks(server.url);
        await until(3000, 'a connection to be refused', () => knocks.refused.includes('ECONNREFUSED'));
        await assert.rejects(knocks.stop());
      } finally {
        if (server.alive) await server.stop('SIGKILL');
      }
    });
  }

  test('SIGTERM: exit code 0', async () => {
    const server = await startServer({ name: 'alone-term', supervise: false });
    const bystander = await connect(server.url, '/lab', 'websocket', { reconnection: false });
    const told = next(bystander, 'incident', 3000);
    assert.equal(await server.stop(), 0);
    assert.equal((await told)[0].code, 'shutdown');
  });
});

describe('without --lab', () => {
  const set = stage({ name: 'deaths-without-lab', lab: false });
  const events = [...DEATHS, OOM, WEDGE].map(({ event }) => event);

  for (const transport of TRANSPORTS) {
    set.test(`over ${transport} none of the events exists, and nothing dies`, async () => {
      const worker = set.server.worker();
      const from = set.server.mark();
      const bystander = await set.connect(transport, { reconnection: false }, '/');
      for (const namespace of ['/', '/admin']) {
        for (const event of events) {
          const socket = await set.connect(transport, { reconnection: false }, namespace);
          const answer = await socket.timeout(3000).emitWithAck(event, {});
          assert.equal(answer.error?.code, 'unknown_event', `${namespace} ${event}: ${JSON.stringify(answer)}`);
          assert.ok(socket.connected);
          close(socket);
        }
      }
      const lab = dial(set.url, '/lab', transport, { reconnection: false });
      const [refused] = await next(lab, 'connect_error', 3000);
      assert.equal(refused.message, 'Invalid namespace');
      close(lab);
      assert.equal(set.server.worker(), worker, 'the process that serves');
      assert.ok(!set.server.lines.slice(from).some(({ text }) => text.includes('💀')));
      assert.ok(bystander.connected);
      close(bystander);
    });
  }
});
