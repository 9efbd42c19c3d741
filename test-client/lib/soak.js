'use strict';
// A long quiet voyage: clients that are busy, idle or slow, none of which does anything wrong. Nobody may be blamed.

const assert = require('node:assert/strict');
const { close, connect } = require('./client');
const { pause, until } = require('./deadline');

const TRANSPORTS = ['websocket', 'polling', 'upgrade'];
const ANSWER_MS = 10_000;
// What a busy client has on the way at once; the server holds twice as much for it.
const WINDOW = 32;
// A slow client takes nothing for so long, and then what has come meanwhile.
const NAP_MS = 1500;
const AWAKE_MS = 700;
const BLAME = /Disconnecting problematic socket|Application panic|💥|⏱️|🔇|🌊|🗯️|🐌|🧱|🚫|⛔|🔄/u;

/** One client of the soak. What it hears that it should not is in `problems`. */
class Sailor {
  constructor(name, socket) {
    this.name = name;
    this.socket = socket;
    this.problems = [];
    this.sent = 0;
    this.received = 0;
    this.over = false;
    for (const event of ['incident', 'warning', 'disconnect', 'connect_error']) {
      socket.on(event, (data) => this.problem(`${event} ${JSON.stringify(data?.message ?? data)}`));
    }
    socket.on('echo', (number) => {
      if (number !== this.received) this.problem(`awaited echo ${this.received} and got ${number}`);
      this.received += 1;
    });
  }

  problem(text) {
    if (!this.over) this.problems.push(`${this.name}: ${text}`);
  }

  speak() {
    this.socket.emit('echo', this.sent);
    this.sent += 1;
  }

  /** Everything has come back. */
  settled() {
    return until(ANSWER_MS, `${this.name} to get its ${this.sent} echoes`, () => {
      if (this.problems.length > 0) throw new Error(this.problems[0]);
      if (this.received >= this.sent) return true;
      throw new Error(`it has ${this.received}`);
    });
  }
}

/** What each kind of client does until `isOver`. */
const KINDS = {
  /** As much as comes back in time. */
  async busy(sailor, isOver) {
    while (!isOver()) {
      while (sailor.sent - sailor.received < WINDOW) sailor.speak();
      await pause(20);
    }
  },
  /** A word every now and then, by ack. */
  async idle(sailor, isOver) {
    while (!isOver()) {
      const answer = await sailor.socket.timeout(ANSWER_MS).emitWithAck('slow_ack', {}).catch((error) => error.message);
      if (answer !== 'slow') sailor.problem(`slow_ack answered ${JSON.stringify(answer)}`);
      await pause(3000);
    }
  },
  /** Reads only now and then, and has much to read by then. */
  async slow(sailor, isOver) {
    const tcp = sailor.socket.io.engine.transport.ws?._socket;
    while (!isOver()) {
      tcp?.pause();
      for (let count = 0; count < WINDOW; count += 1) sailor.speak();
      await pause(NAP_MS);
      tcp?.resume();
      await pause(AWAKE_MS);
    }
    tcp?.resume();
  },
};

/**
 * Sails for `seconds` on `server`, with `each` clients of every kind over every transport. Fails as soon as anybody is
 * told of anything, disconnected, or loses a message. Answers how many messages there were.
 */
async function soak(server, { seconds, each = 3, progress = () => {} }) {
  const started = performance.now();
  const passed = () => (performance.now() - started) / 1000;
  let failed;
  const isOver = () => failed || passed() >= seconds;
  const from = server.mark();
  const sailors = [];
  for (const transport of TRANSPORTS) {
    for (const kind of Object.keys(KINDS)) {
      for (let number = 1; number <= each; number += 1) {
        const socket = await connect(server.url, '/lab', transport, { reconnection: false });
        sailors.push({ kind, sailor: new Sailor(`${kind} ${number} (${transport})`, socket) });
      }
    }
  }
  const all = sailors.map(({ sailor }) => sailor);
  const echoes = () => all.reduce((sum, { received }) => sum + received, 0);
  const check = () => {
    assert.ok(server.alive, 'the server died');
    assert.deepEqual(all.flatMap(({ problems }) => problems), []);
    const blamed = server.lines.slice(from).filter(({ text }) => BLAME.test(text));
    assert.deepEqual(blamed.map(({ text }) => text), [], 'the log blames somebody');
  };
  const watch = async () => {
    for (let told = 0; !isOver(); await pause(200)) {
      check();
      if (passed() - told < 10) continue;
      told = passed();
      progress({ seconds: Math.round(told), clients: all.length, echoes: echoes() });
    }
  };
  try {
    await Promise.all(
      [watch(), ...sailors.map(({ kind, sailor }) => KINDS[kind](sailor, isOver))].map((work) =>
        work.catch((error) => {
          failed ??= error;
        }),
      ),
    );
    if (failed) throw failed;
    await Promise.all(all.map((sailor) => sailor.settled()));
    check();
    return { seconds: Math.round(passed()), clients: all.length, echoes: echoes() };
  } finally {
    for (const sailor of all) sailor.over = true;
    close(...all.map(({ socket }) => socket));
  }
}

module.exports = { soak };
