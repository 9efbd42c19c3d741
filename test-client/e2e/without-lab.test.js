'use strict';
// A server without --lab: the lab does not exist, all else does.

const assert = require('node:assert/strict');
const { close, dial } = require('../lib/client');
const { next } = require('../lib/deadline');
const { get } = require('../lib/server');
const { stage } = require('../lib/stage');

const set = stage({ name: 'without-lab', lab: false });

for (const transport of ['websocket', 'polling']) {
  for (const namespace of ['/lab', '/lab_bad_connect', '/lab_bad_connect_sync', '/lab_bad_middleware']) {
    set.test(`${namespace} over ${transport} is refused`, async () => {
      const socket = dial(set.url, namespace, transport, { reconnection: false });
      const [error] = await next(socket, 'connect_error', 3000);
      assert.equal(error.message, 'Invalid namespace');
      close(socket);
    });
  }
}

set.test('a fault of the lab is an event like any other on /', async () => {
  const socket = await set.connect('websocket', { reconnection: false }, '/');
  for (const event of ['panic_sync', 'panic_async', 'panic_extract', 'panic_transport', 'panic_fallback']) {
    socket.emit(event, {});
  }
  // The server reads in order, so when it answers this it has seen all of those.
  await socket.timeout(3000).emitWithAck('presence', {}).catch(() => {});
  assert.ok(socket.connected);
  close(socket);
});

set.test('/health answers OK', async () => {
  const { status, body } = await get(`${set.url}/health`);
  assert.equal(status, 200);
  assert.equal(body, 'OK');
});
