'use strict';
// The server is asked to end: clients are told, then closed, and it ends in time with code 0.

const assert = require('node:assert/strict');
const { performance } = require('node:perf_hooks');
const { afterEach, test } = require('node:test');
const { closeAll, connect } = require('../lib/client');
const { within } = require('../lib/deadline');
const { RawWebSocket } = require('../lib/raw');
const { startServer } = require('../lib/server');

const BOUND_MS = 10_000;

afterEach(() => closeAll());

/** Records what a client hears until its end. */
function listen(socket) {
  const heard = [];
  socket.onAny((event, ...data) => heard.push({ event, data }));
  const closed = new Promise((resolve) => socket.once('disconnect', (reason) => resolve(reason)));
  return { heard, closed };
}

async function crowd(url) {
  const places = ['websocket', 'polling', 'upgrade'].flatMap((transport) =>
    ['/', '/lab'].map((namespace) => [transport, namespace]),
  );
  return Promise.all(
    places.map(async ([transport, namespace]) => ({
      where: `${namespace} over ${transport}`,
      ...listen(await connect(url, namespace, transport, { reconnection: false })),
    })),
  );
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal}: everyone is told, then closed; exit code 0`, async () => {
    const server = await startServer({ name: `drain-${signal}` });
    const clients = await crowd(server.url);
    const started = performance.now();
    const code = await server.stop(signal);
    const took = performance.now() - started;
    for (const { where, heard, closed } of clients) {
      await within(2000, `${where} to be closed`, closed);
      const told = heard.some(({ event, data }) => event === 'incident' && data[0].code === 'shutdown');
      assert.ok(told, `${where} was not told`);
    }
    assert.equal(code, 0, 'the exit code');
    assert.ok(took < BOUND_MS, `it took ${took.toFixed(0)} ms`);
  });
}

test('a client that does not read and a disconnect handler that hangs cannot hold the drain up', async () => {
  const server = await startServer({ name: 'drain-held' });
  const hanging = await connect(server.url, '/lab', 'websocket', { reconnection: false });
  await hanging.timeout(3000).emitWithAck('arm_disconnect_hang');
  const deaf = await RawWebSocket.open(server.url);
  await deaf.join('/lab');
  deaf.deafen();
  const word = 'x'.repeat(64 * 1024);
  for (let count = 0; count < 400; count += 1) deaf.send(`42/lab,["echo","${word}"]`);
  await deaf.flushed(20_000);

  const started = performance.now();
  const code = await server.stop();
  deaf.vanish();
  assert.equal(code, 0, 'the exit code');
  assert.ok(performance.now() - started < BOUND_MS);
});
