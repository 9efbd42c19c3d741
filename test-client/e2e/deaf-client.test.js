'use strict';
// A client that never reads: the server's words for it pile up, and it still has to go when it sinks.

const assert = require('node:assert/strict');
const { RawPolling, RawWebSocket } = require('../lib/raw');
const { stage } = require('../lib/stage');

// 400 echoes of 64 KiB are more than the kernel's buffers and the server's queue hold together.
const ECHOES = 400;
const WORD = 'x'.repeat(64 * 1024);
const GONE_MS = 1000;

const set = stage({ name: 'deaf-client' });

for (const fault of ['panic_sync', 'panic_async', 'panic_spawned', 'panic_extract']) {
  set.test(`a WebSocket that never reads, then ${fault}: gone within ${GONE_MS} ms`, async () => {
    const baseline = await set.observer.baseline();
    const raw = await RawWebSocket.open(set.url);
    await raw.join('/lab');
    raw.send('42/lab,1["join","deaf"]');
    await raw.frame((frame) => frame.startsWith('43/lab,1'), 'the answer to join');

    raw.deafen();
    for (let count = 0; count < ECHOES; count += 1) raw.send(`42/lab,["echo","${WORD}"]`);
    await raw.flushed(20_000);
    assert.ok(!raw.gone, 'a slow reader is not an offender yet');
    raw.send(`42/lab,["${fault}",{}]`);
    await raw.flushed(5000);

    await set.observer.backTo(baseline, { rooms: ['deaf'], ms: GONE_MS });
    await set.observer.panicsSince(baseline, 1);
    raw.vanish();
  });
}

set.test(`a polling client that never polls, then panic_async: gone within ${GONE_MS} ms`, async () => {
  const baseline = await set.observer.baseline();
  const raw = await RawPolling.open(set.url);
  await raw.join('/lab');
  for (let count = 0; count < 150; count += 1) await raw.post(`42/lab,["echo","${WORD}"]`);
  await raw.post('42/lab,["panic_async",{}]');

  await set.observer.backTo(baseline, { ms: GONE_MS });
  await set.observer.panicsSince(baseline, 1);
});
