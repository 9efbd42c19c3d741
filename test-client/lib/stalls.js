'use strict';
// Handlers that block the thread they run on, several at once.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const { Offender } = require('./offender');
const { close, echoes } = require('./client');

// Longer than the server's limit of two seconds.
const BLOCK_MS = 2600;

const TICK_MS = 10;

/** For how long the host has given this machine's processors to others, on average of them; 0 where nobody tells. */
function stolenMs() {
  try {
    const [, ...times] = fs.readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].trim().split(/\s+/);
    return (Number(times[7] ?? 0) * TICK_MS) / os.cpus().length;
  } catch {
    return 0;
  }
}

/** `count` clients whose `event` blocks a thread each, at once. Bystanders must wait at most `worstMs` for an echo. */
async function block(set, { event, count, transport, worstMs }) {
  const baseline = await set.observer.baseline();
  const offenders = await Promise.all(
    Array.from({ length: count }, async () => new Offender(await set.connect(transport))),
  );
  set.bystanders.forget();
  const stolenBefore = stolenMs();
  const fates = await Promise.all(
    offenders.map((offender) =>
      offender.sinks((socket) => socket.emit(event, { ms: BLOCK_MS }), { code: 'stall', ms: BLOCK_MS + 2000 }),
    ),
  );
  await set.bystanders.unharmed();
  const worst = set.bystanders.worstMs();
  // A machine whose host gives it no processor is not quiet, and that is not the server's doing.
  const stolen = stolenMs() - stolenBefore;
  console.log(`${count} × ${event} over ${transport}: bystanders' worst echo ${worst.toFixed(1)} ms, ${stolen.toFixed(0)} ms stolen`);
  for (const offender of offenders) {
    await offender.hears('connect', { ms: 5000 });
    await echoes(offender.socket, { after: event }, 5000);
    close(offender.socket);
  }
  await set.observer.backTo(baseline, { ms: BLOCK_MS + 1000 });
  // Only when no thread is held any more: the next round would be held by this one as well.
  const allowed = worstMs + stolen;
  assert.ok(worst < allowed, `bystanders waited ${worst.toFixed(1)} ms for an echo; ${allowed.toFixed(0)} ms are allowed`);
  for (const { toldMs } of fates) {
    assert.ok(toldMs > 1900, `told after ${toldMs.toFixed(0)} ms: a stall is a fault after 2 s`);
  }
}

module.exports = { BLOCK_MS, block };
