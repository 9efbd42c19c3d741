'use strict';
// The one who sinks: what its client must be told, in which order, and that it comes back.

const assert = require('node:assert/strict');
const { performance } = require('node:perf_hooks');
const { within } = require('./deadline');

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
// What must never reach a client unless the settings say so: source files, and the words of the lab's panics.
const DETAILS = /panicked|\.rs\b|:\d+:\d+|\blab\b|unwrap|\bboom\b|deliberate/i;
const CLOSED = ['transport close', 'transport error'];

/** Records what a client hears, in order. */
class Offender {
  constructor(socket) {
    this.socket = socket;
    this.id = socket.id;
    this.heard = [];
    this.incidents = [];
    this.waiting = [];
    socket.on('incident', (...args) => {
      this.incidents.push(args);
      this.#hear('incident', args[0]);
    });
    socket.on('disconnect', (reason) => this.#hear('disconnect', reason));
    socket.on('connect', () => this.#hear('connect'));
    socket.on('connect_error', (error) => this.#hear('connect_error', error));
    // `panic_ack` asks, and panics while it waits or when it has the answer.
    socket.on('ack_me', (...args) => {
      const answer = args.at(-1);
      if (typeof answer === 'function') answer('here');
    });
  }

  #hear(event, data) {
    this.heard.push({ event, data, at: performance.now() });
    this.waiting = this.waiting.filter((waiter) => !waiter());
  }

  /** The next thing of this name that was or will be heard, from position `from` on. */
  hears(event, { ms = 3000, from = 0 } = {}) {
    const find = () => this.heard.slice(from).find((entry) => entry.event === event);
    const heard = new Promise((resolve) => {
      const waiter = () => {
        const found = find();
        if (found) resolve(found);
        return found;
      };
      if (!waiter()) this.waiting.push(waiter);
    });
    return within(ms, `the offender to hear ${event}; it heard ${JSON.stringify(this.words())}`, heard);
  }

  words() {
    return this.heard.map(({ event }) => event);
  }

  /**
   * Fires a fault and waits until the connection has sunk: told first, then closed, once. Returns the incident (or
   * undefined where it may go untold), the times in milliseconds, and the answers still awaited.
   */
  async sinks(fire, { mayBeUntold = false, ms = 3000, code = 'panic' } = {}) {
    const from = this.heard.length;
    const started = performance.now();
    const answers = fire(this.socket);
    const closed = await this.hears('disconnect', { from, ms });
    const told = this.heard.slice(from).find(({ event }) => event === 'incident');
    assert.ok(CLOSED.includes(closed.data), `closed with the reason ${closed.data}`);
    if (!told && mayBeUntold) return { closedMs: closed.at - started, answers };
    assert.ok(told, `not told before the end; heard ${JSON.stringify(this.words())}`);
    assert.ok(told.at <= closed.at, 'told after the end');
    assert.equal(this.incidents.length, 1, 'told more than once');
    assert.equal(this.incidents[0].length, 1, 'the incident has one argument');
    checkIncident(told.data, { code });
    return { incident: told.data, toldMs: told.at - started, closedMs: closed.at - started, answers };
  }
}

/** The fields of an incident as a client gets it. */
function checkIncident(incident, { details = false, code = 'panic' } = {}) {
  assert.deepEqual(Object.keys(incident).sort(), ['code', 'id', 'message', 'retry', 'retryAfterMs']);
  assert.match(incident.id, ULID);
  assert.equal(incident.code, code);
  assert.equal(incident.retry, true);
  assert.ok(Number.isInteger(incident.retryAfterMs) && incident.retryAfterMs >= 0, `${incident.retryAfterMs}`);
  assert.ok(typeof incident.message === 'string' && incident.message.length > 0);
  if (!details) assert.doesNotMatch(incident.message, DETAILS);
}

module.exports = { CLOSED, Offender, ULID, checkIncident };
