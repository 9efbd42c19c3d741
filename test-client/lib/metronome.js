'use strict';
// For how long the machine holds whoever wants to run: a process that has nothing to do with server or clients wants to
// every few milliseconds, and remembers by how much it was late. A bar on time that a machine without time cannot keep is
// raised by that, and by nothing else.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const { performance } = require('node:perf_hooks');
const { within } = require('./deadline');

const BEAT_MS = 2;
const ANSWER_MS = 5000;
// What is remembered: no test watches for longer.
const LATE_BEATS = 100_000;

class Metronome {
  constructor() {
    this.process = fork(__filename, ['beat'], { stdio: 'ignore' });
    // Neither it nor the channel to it keeps a test from ending.
    this.process.unref();
    this.process.channel.unref();
  }

  /** By how many milliseconds its latest beat was late, of those since then. */
  async heldMs(since) {
    this.process.channel.ref();
    try {
      const answer = once(this.process, 'message');
      this.process.send(since);
      const [held] = await within(ANSWER_MS, 'the metronome', answer);
      return held;
    } finally {
      this.process.channel.unref();
    }
  }
}

let only;

/** The one of this process. */
function metronome() {
  only ??= new Metronome();
  return only;
}

/** Milliseconds since 1970, with fractions: the same clock in all processes. */
function now() {
  return performance.timeOrigin + performance.now();
}

function beat() {
  const late = [];
  let before = now();
  setInterval(() => {
    const at = now();
    const by = at - before - BEAT_MS;
    if (by > 1) late.push({ at, by });
    if (late.length > LATE_BEATS) late.shift();
    before = at;
  }, BEAT_MS);
  process.on('message', (since) => {
    process.send(Math.max(0, ...late.filter(({ at }) => at > since).map(({ by }) => by)));
  });
  process.on('disconnect', () => process.exit());
}

if (require.main === module && process.argv[2] === 'beat') beat();

module.exports = { metronome, now };
