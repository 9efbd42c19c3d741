'use strict';
// A poison pill: a client that ends the process, comes back, and does it again for as long as it is let.

const { connect } = require('./client');
const { pause, until } = require('./deadline');

const REFUSED = /^quarantined; retry after (\d+) ms \(incident ([0-9A-Z]{26})\)$/;
// What it rests before it tries again, whatever it was told.
const INSISTS_MS = 50;

class Pill {
  /**
   * Connects to the lab and begins. With a `name` it says who it is first, and fires `event` when it is welcome; a
   * `hasty` one does not wait for that. Before it fires it waits for `calm`, if that is given. `options` are those of the
   * client.
   */
  static async swallow(url, transport, { name, event, hasty = false, calm = async () => {}, options = {} }) {
    const socket = await connect(url, '/lab', transport, { ...options, reconnectionDelay: 20, reconnectionDelayMax: 50 });
    return new Pill(socket, { name, event, hasty, calm });
  }

  constructor(socket, ways) {
    this.socket = socket;
    this.ways = ways;
    this.fired = 0;
    /** How it was refused: `{ by, incident, retryMs }`. */
    this.refusals = [];
    /** How the event was answered instead of ending the process. */
    this.answers = [];
    socket.on('connect', () => this.#fire());
    socket.on('connect_error', ({ message }) => this.#connectFailed(message));
    socket.on('disconnect', (reason) => {
      // By a packet: its client does not come back unless told to.
      if (reason === 'io server disconnect') this.#insist();
    });
    socket.on('incident', ({ code, id, retryAfterMs }) => {
      if (code === 'quarantined') this.refusals.push({ by: 'notice', incident: id, retryMs: retryAfterMs });
    });
    this.#fire();
  }

  async #fire() {
    const { socket } = this;
    const { name, event, hasty, calm } = this.ways;
    try {
      if (hasty) socket.emit('identify', name);
      else if (name !== undefined && (await socket.timeout(1000).emitWithAck('identify', name)) !== null) return;
      await calm();
      for (;;) {
        this.fired += 1;
        this.answers.push(await socket.timeout(5000).emitWithAck(event, {}));
        await pause(INSISTS_MS);
      }
    } catch {
      // The connection is gone, and the next begins anew.
    }
  }

  #connectFailed(message) {
    const refused = REFUSED.exec(message);
    if (!refused) return;
    this.refusals.push({ by: 'connect_error', incident: refused[2], retryMs: Number(refused[1]) });
    this.#insist();
  }

  async #insist() {
    await pause(INSISTS_MS);
    if (!this.over) this.socket.connect();
  }

  /** Waits until it was refused `count` times, and answers how. */
  async refused(count = 5, ms = 10_000) {
    await until(ms, `the pill to be refused ${count} times`, () => {
      if (this.refusals.length >= count) return true;
      throw new Error(`it was ${this.refusals.length} times, and fired ${this.fired} times`);
    });
    return this.refusals;
  }

  /** Waits until its event was answered `count` times with that it is switched off. Answers the answers. */
  async switchedOff(count = 5, ms = 10_000) {
    await until(ms, `the event to be answered ${count} times`, () => {
      if (this.answers.length >= count) return true;
      throw new Error(`it was ${this.answers.length} times, and fired ${this.fired} times`);
    });
    return this.answers;
  }

  /** Waits until it was refused or answered `count` times in all. */
  stopped(count = 5, ms = 10_000) {
    return until(ms, `the pill to be stopped ${count} times`, () => this.refusals.length + this.answers.length >= count);
  }

  stop() {
    this.over = true;
    this.socket.disconnect();
  }
}

module.exports = { Pill, REFUSED };
