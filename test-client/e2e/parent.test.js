'use strict';
// The parent holds the address and starts the server again. It is small, and when it ends nothing of it is left.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const net = require('node:net');
const { performance } = require('node:perf_hooks');
const { afterEach, describe, test } = require('node:test');
const { closeAll, connect } = require('../lib/client');
const { DeadlineError, until, within } = require('../lib/deadline');
const { died, operators, replaced } = require('../lib/deaths');
const { MIB, memory } = require('../lib/memory');
const { mourning } = require('../lib/mourning');
const { lives } = require('../lib/processes');
const { SUPERVISED, get, startServer } = require('../lib/server');

const PARENT_KIB = 5 * MIB;
const DRAIN_MS = 10_000;
// How much longer a process that drains may take until it is ended.
const MARGIN_MS = 2000;

const TRANSPORTS = ['websocket', 'polling'];

const running = [];

/** A supervised server with one client over each transport; what they hear of its end is in `told`. */
async function started(name, settings = {}) {
  const server = await startServer({ name, supervise: true, settings });
  running.push(server);
  const told = [];
  for (const transport of TRANSPORTS) {
    const socket = await connect(server.url, '/lab', transport, { reconnection: false });
    socket.on('incident', ({ code }) => told.push(`${transport}: ${code}`));
  }
  return { server, told };
}

const EVERYBODY = TRANSPORTS.map((transport) => `${transport}: shutdown`).sort();

/** None of these processes runs any more, and the address is free. */
async function nothingLeft({ url }, workers, ms) {
  await until(ms, `the processes ${workers} to end`, () => !workers.some(lives));
  const { hostname, port } = new URL(url);
  // The last thread of a process may end a little later than the first.
  await until(1000, 'the address to be free', async () => {
    const listener = net.createServer().listen({ host: hostname, port: Number(port) });
    await once(listener, 'listening');
    listener.close();
    return true;
  });
}

describe('supervised', { skip: !SUPERVISED }, () => {
  afterEach(async () => {
    closeAll();
    // What a failed test leaves.
    for (const server of running.splice(0)) if (server.alive) await server.stop('SIGKILL');
  });

  test('the parent has less than 5 MiB', async () => {
    const { server } = await started('parent-memory');
    const now = memory(server.child.pid);
    console.log(`the parent: ${JSON.stringify(now)} KiB`);
    assert.equal(await server.stop(), 0);
    // All of it, with the pages of the program's file that the server has as well.
    if (now) assert.ok(now.resident < PARENT_KIB && now.own < 2 * MIB, JSON.stringify(now));
  });

  test('kill -9 of the parent: the server tells everybody, ends, and leaves nothing', async () => {
    const { server, told } = await started('parent-killed');
    const workers = server.workers();
    assert.equal(workers.length, 1);
    server.signal('SIGKILL');
    assert.equal((await server.exited).signal, 'SIGKILL');
    await server.line('the parent process is gone: the server stops');
    await nothingLeft(server, workers, DRAIN_MS);
    await until(1000, 'everybody to be told', () => told.length >= EVERYBODY.length);
    assert.deepEqual(told.sort(), EVERYBODY);
    await server.line('the server has stopped');
  });

  test('kill -9 of the parent of a server that answers nothing: it ends all the same', async () => {
    const { server } = await started('parent-killed-wedged', { 'server.drain_timeout_ms': 300 });
    const workers = server.workers();
    const culprit = await connect(server.url, '/lab', 'websocket', { reconnection: false });
    const from = server.mark();
    culprit.emit('wedge', {});
    await until(3000, 'the server to answer nothing', () => get(`${server.url}/health`, 200).then(() => false, () => true));
    server.signal('SIGKILL');
    await nothingLeft(server, workers, MARGIN_MS + 3000);
    assert.ok(!server.lines.slice(from).some(({ text }) => text.includes('the server has stopped')), 'it did answer');
  });

  test('SIGTERM: everybody is told, exit code 0, and nothing is left', async () => {
    const { server, told } = await started('parent-term');
    const workers = server.workers();
    assert.equal(await server.stop(), 0);
    await until(1000, 'everybody to be told', () => told.length >= EVERYBODY.length);
    assert.deepEqual(told.sort(), EVERYBODY);
    await nothingLeft(server, workers, 1000);
  });

  test('a second SIGTERM cuts the end short', async () => {
    const { server } = await started('parent-hurried', {
      'server.drain_timeout_ms': DRAIN_MS,
      'recovery.disconnect_cleanup_ms': 3 * DRAIN_MS,
    });
    const workers = server.workers();
    const holding = await connect(server.url, '/lab', 'websocket', { reconnection: false });
    await holding.timeout(3000).emitWithAck('arm_disconnect_hang');
    server.signal('SIGTERM');
    await server.line('a signal asks the server to stop');
    await assert.rejects(within(1000, 'the end', server.exited), DeadlineError, 'nothing holds it up');
    const again = performance.now();
    assert.equal(await server.stop(), 0);
    const took = performance.now() - again;
    console.log(`ended ${took.toFixed(0)} ms after the second signal`);
    await server.line('a further signal cuts the end short');
    assert.ok(took < MARGIN_MS, `it took ${took.toFixed(0)} ms`);
    await nothingLeft(server, workers, 1000);
  });
});

describe('the server is treated badly by others', { skip: !SUPERVISED }, () => {
  const settings = {
    'supervisor.restart_reset_ms': 100,
    'supervisor.wedge_limit_ms': 700,
    'supervisor.restart_base_ms': 20,
  };
  const set = mourning({ name: 'parent-others', crowd: { count: 20 }, settings });

  for (const [signal, manner] of [['SIGKILL', 'killed'], ['SIGTERM', 'exited'], ['SIGSTOP', 'wedged'], ['SIGSEGV', 'killed']]) {
    set.test(`${signal} to it alone: it is replaced, and nobody is blamed`, async () => {
      const old = set.server.worker();
      const from = set.server.mark();
      const since = set.crowd.mark();
      set.crowd.quiet();
      const forgiven = set.crowd.forgive();
      await set.crowd.answered();
      process.kill(old, signal);
      const words = await died(set.server, from);
      assert.equal(words.manner, manner, words.line);
      // At most a suspect: somebody's work may just have ended.
      assert.match(words.attribution, /unattributed|suspect/, words.line);
      await replaced(set.server, old);
      await set.crowd.back(since);
      forgiven();
      set.crowd.talk();
      const { incident, quarantined, breakers } = await operators(set.url, words.incident);
      assert.equal(incident.death.manner, manner);
      assert.deepEqual([quarantined, breakers], [[], []]);
      assert.ok(!lives(old));
    });
  }
});
