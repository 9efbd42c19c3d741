'use strict';
// Handlers that block the thread they run on, several at once.

const assert = require('node:assert/strict');
const { Offender } = require('./offender');
const { close, echoes } = require('./client');
const { metronome, now } = require('./metronome');

// Longer than the server's limit of two seconds.
const BLOCK_MS = 2600;

/** `count` clients whose `event` blocks a thread each, at once. Bystanders must wait at most `worstMs` for an echo. */
async function block(set, { event, count, transport, worstMs }) {
  const baseline = await set.observer.baseline();
  const offenders = await Promise.all(
    Array.from({ length: count }, async () => new Offender(await set.connect(transport))),
  );
  const since = now();
  set.bystanders.forget();
  const fates = await Promise.all(
    offenders.map((offender) =>
      offender.sinks((socket) => socket.emit(event, { ms: BLOCK_MS }), { code: 'stall', ms: BLOCK_MS + 2000 }),
    ),
  );
  await set.bystanders.unharmed();
  const worst = set.bystanders.worstMs();
  const held = await metronome().heldMs(since);
  console.log(`${count} × ${event} over ${transport}: bystanders' worst echo ${worst.toFixed(1)} ms; the machine held others for ${held.toFixed(1)} ms`);
  for (const offender of offenders) {
    await offender.hears('connect', { ms: 5000 });
    await echoes(offender.socket, { after: event }, 5000);
    close(offender.socket);
  }
  await set.observer.backTo(baseline, { ms: BLOCK_MS + 1000 });
  // Only when no thread is held any more: the next round would be held by this one as well.
  const allowed = worstMs + held;
  assert.ok(worst < allowed, `bystanders waited ${worst.toFixed(1)} ms for an echo; ${allowed.toFixed(1)} ms are allowed`);
  for (const { toldMs } of fates) {
    assert.ok(toldMs > 1900, `told after ${toldMs.toFixed(0)} ms: a stall is a fault after 2 s`);
  }
}

module.exports = { BLOCK_MS, block };
