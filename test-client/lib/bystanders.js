'use strict';
// Those who did nothing: clients that talk all the time and must notice nothing of another's fault.

const assert = require('node:assert/strict');
const { performance } = require('node:perf_hooks');
const { close, connect } = require('./client');
const { until } = require('./deadline');

const EVERY_MS = 50;
const ROOM = 'bystanders';

/** One client that echoes a numbered message every 50 ms and reads the room's messages. */
class Bystander {
  constructor(name, socket) {
    this.name = name;
    this.socket = socket;
    this.sent = 0;
    this.received = 0;
    this.heard = 0;
    this.worstMs = 0;
    this.problems = [];
    this.sentAt = [];
    socket.on('echo', (message) => this.#echoed(message));
    socket.on('room_msg', (message) => this.#heard(message));
    socket.on('incident', (incident) => this.#problem(`was told of an incident: ${JSON.stringify(incident)}`));
    socket.on('disconnect', (reason) => this.#problem(`was disconnected: ${reason}`));
    socket.on('connect_error', (error) => this.#problem(`could not connect: ${error.message}`));
  }

  #problem(text) {
    this.problems.push(`${this.name} ${text}`);
  }

  #echoed({ by, seq } = {}) {
    if (by !== this.name || seq !== this.received) {
      this.#problem(`awaited echo ${this.received} and got ${JSON.stringify({ by, seq })}`);
    }
    this.worstMs = Math.max(this.worstMs, performance.now() - this.sentAt[seq]);
    this.received += 1;
  }

  #heard(message) {
    const seq = (message?.data ?? message)?.seq;
    if (seq !== this.heard) this.#problem(`awaited room message ${this.heard} and got ${JSON.stringify(message)}`);
    this.heard += 1;
  }

  speak() {
    this.sentAt[this.sent] = performance.now();
    this.socket.emit('echo', { by: this.name, seq: this.sent });
    this.sent += 1;
  }
}

/** At least one bystander per transport; the first of them also speaks to the room that all of them are in. */
class Bystanders {
  /** Connects them and starts the talk. */
  static async start(url, transports = ['websocket', 'polling', 'upgrade']) {
    const all = await Promise.all(
      transports.map(async (transport, number) => {
        const socket = await connect(url, '/lab', transport);
        await socket.timeout(3000).emitWithAck('join', ROOM);
        return new Bystander(`bystander ${number} (${transport})`, socket);
      }),
    );
    return new Bystanders(all);
  }

  constructor(all) {
    this.all = all;
    this.told = 0;
    this.timer = setInterval(() => this.#tick(), EVERY_MS);
  }

  #tick() {
    for (const bystander of this.all) bystander.speak();
    this.all[0].socket.emit('room_msg', { room: ROOM, data: { seq: this.told } });
    this.told += 1;
  }

  /** Everything sent so far has come back, once and in order, and nobody noticed anything else. */
  async unharmed(ms = 5000) {
    const told = this.told;
    for (const bystander of this.all) {
      const { sent } = bystander;
      await until(ms, `${bystander.name} to get its ${sent} echoes and ${told} room messages`, () => {
        this.#report();
        const { received, heard } = bystander;
        if (received >= sent && heard >= told) return true;
        throw new Error(`it has ${received} and ${heard}`);
      });
    }
    this.#report();
  }

  #report() {
    assert.deepEqual(this.all.flatMap(({ problems }) => problems), []);
  }

  /** Forgets how long echoes have taken so far. */
  forget() {
    for (const bystander of this.all) bystander.worstMs = 0;
  }

  /** The longest that an echo has taken so far, in milliseconds. */
  worstMs() {
    return Math.max(...this.all.map(({ worstMs }) => worstMs));
  }

  /** Ends the talk, checks a last time, and leaves. */
  async stop() {
    clearInterval(this.timer);
    try {
      await this.unharmed();
    } finally {
      for (const { socket } of this.all) {
        socket.off('disconnect');
        close(socket);
      }
    }
  }
}

module.exports = { Bystanders, EVERY_MS };
