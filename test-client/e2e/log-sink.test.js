'use strict';
// Where the log goes must not matter: a standard error that nobody reads, or that is closed, costs lines and nothing else.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { test } = require('node:test');
const { close, closeAll, connect, echoes } = require('../lib/client');
const { until } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { alone, binary, discipline, environment } = require('../lib/server');

// Fills a pipe several times over.
const PANICS = 300;

async function start() {
  const flags = ['--port', '0', '--lab', ...discipline({}), ...alone(), '--set', 'logging.storm_limit_per_second=100000'];
  const child = spawn(binary(), flags, { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  const url = await until(10_000, 'the server to say where it listens', () => /http:\S+/.exec(out)?.[0]);
  return { child, url };
}

async function panicsInTurn(url, count) {
  const socket = await connect(url, '/lab', 'websocket', { reconnectionDelay: 1, randomizationFactor: 0 });
  for (let turn = 0; turn < count; turn += 1) {
    const offender = new Offender(socket);
    const back = offender.hears('connect');
    await offender.sinks((fired) => fired.emit('panic_async', {}));
    await back;
    socket.removeAllListeners();
  }
  close(socket);
}

async function stops(child) {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const [code] = await ended;
  assert.equal(code, 0);
}

for (const [how, prepare] of [
  ['that nobody reads', (child) => child.stderr.pause()],
  ['that is closed', (child) => child.stderr.destroy()],
]) {
  test(`a standard error ${how} does not keep offenders from being told`, { timeout: 60_000 }, async () => {
    const { child, url } = await start();
    try {
      prepare(child);
      const bystander = await connect(url, '/lab', 'websocket', { reconnection: false });
      // Operators are logged when they connect: that must not cost them their connection.
      const operator = await connect(url, '/admin', 'websocket', { reconnection: false });
      await panicsInTurn(url, PANICS);
      await echoes(bystander, 'still here');
      assert.ok((await operator.timeout(3000).emitWithAck('list', {})).ok);
      close(bystander, operator);
      await stops(child);
    } finally {
      closeAll();
      child.kill('SIGKILL');
    }
  });
}
