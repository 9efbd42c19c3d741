'use strict';
// SIGHUP has a new process take over while the old one drains: no request is lost, and nobody is refused.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { after, before } = require('node:test');
const { closeAll, connect, echoes } = require('../lib/client');
const { COUNT, Crowd } = require('../lib/crowd');
const { next } = require('../lib/deadline');
const { Knocks, Requests } = require('../lib/probes');
const { SUPERVISED, startServer } = require('../lib/server');

const TIMES = 5;
const ENDED = 'the old worker has drained and ended';
const FAILED = 'the new worker was never ready: the old one goes on serving';

/** Asks for a reload, and waits until a new worker serves and the old one has ended. */
async function reload(server) {
  const [from, old] = [server.mark(), server.worker()];
  server.signal('SIGHUP');
  await server.line(ENDED, { from, ms: 15_000 });
  assert.equal(server.workers().length, 1, 'one worker is left');
  assert.notEqual(server.worker(), old, 'the process that serves');
}

describe('under load', { skip: !SUPERVISED }, () => {
  let server;
  let crowd;
  before(async () => {
    server = await startServer({ name: 'takeover' });
    crowd = await Crowd.start(server.url);
  });
  after(async () => {
    crowd?.stop();
    assert.equal(await server?.stop(), 0);
  });

  for (const [what, keepAlive] of [['on a connection of its own', false], ['on a connection that is kept', true]]) {
    test(`every request ${what} is answered while ${TIMES} processes take over in a row`, async () => {
      const requests = new Requests(server.url, { keepAlive });
      const knocks = new Knocks(server.url);
      for (let time = 0; time < TIMES; time += 1) {
        const since = crowd.mark();
        await reload(server);
        await crowd.back(since);
      }
      const { opened, answered } = await knocks.stop();
      const count = await requests.stop();
      console.log(`${TIMES} takeovers: ${count} requests ${what} and ${opened} connections answered`);
      assert.equal(answered, opened, 'connections that were answered');
      assert.deepEqual(crowd.causes(), {}, 'connects that failed');
    });
  }

  test('clients over both transports are told, and are back on the new process at once', async () => {
    const told = crowd.listen('incident');
    const since = crowd.mark();
    await reload(server);
    await crowd.backSoon('takeover', since);
    assert.deepEqual(crowd.causes(), {}, 'connects that failed');
    const codes = told().map(([{ code }]) => code);
    assert.deepEqual([...new Set(codes)], ['shutdown']);
    // Whoever polls and has no request under way just then learns it from the new process, which does not know its session.
    assert.ok(codes.length >= COUNT / 2 && codes.length <= COUNT, `${codes.length} were told`);
    await crowd.answered();
  });

  test('many requests to reload at once are one or two takeovers, and lose nothing', async () => {
    const requests = new Requests(server.url);
    const since = crowd.mark();
    const from = server.mark();
    for (let time = 0; time < 20; time += 1) server.signal('SIGHUP');
    await server.line(ENDED, { from, ms: 15_000 });
    await crowd.back(since);
    await server.line(/the worker is ready/, { from });
    await requests.stop();
    await crowd.answered();
  });
});

test('a process that cannot start takes nothing over: the old one goes on serving, and says so', { skip: !SUPERVISED }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'watertight-takeover-'));
  const config = path.join(folder, 'watertight.toml');
  fs.writeFileSync(config, '[recovery]\nretry_after_ms = 500\n');
  const server = await startServer({ name: 'takeover-broken', args: ['--config', config] });
  try {
    const bystanders = await Promise.all(['websocket', 'polling'].map((way) => connect(server.url, '/lab', way)));
    const ends = [];
    for (const socket of bystanders) socket.on('disconnect', (reason) => ends.push(reason));
    const worker = server.worker();

    for (const broken of ['[recovery]\nretry_after_ms = "soon"\n', 'no toml at all [', '[recovery]\nno_such = 1\n']) {
      const from = server.mark();
      fs.writeFileSync(config, broken);
      const requests = new Requests(server.url);
      server.signal('SIGHUP');
      await server.line(FAILED, { from });
      await requests.stop();
      assert.deepEqual(server.workers(), [worker], 'the process that serves');
      await Promise.all(bystanders.map((socket) => echoes(socket, broken)));
    }
    assert.deepEqual(ends, []);

    fs.writeFileSync(config, '[recovery]\nretry_after_ms = 700\n');
    const back = Promise.all(bystanders.map((socket) => next(socket, 'connect', 5000)));
    await reload(server);
    await back;
    await Promise.all(bystanders.map((socket) => echoes(socket, 'mended')));
  } finally {
    closeAll();
    assert.equal(await server.stop(), 0);
    fs.rmSync(folder, { recursive: true });
  }
});
