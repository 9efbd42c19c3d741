'use strict';
// Reads what the server still knows, to find what a fault has left behind.

const assert = require('node:assert/strict');
const { connect } = require('./client');
const { pause, until } = require('./deadline');

/** The counters that must come back to where they were. */
const COUNTERS = ['sockets', 'compartments', 'connections', 'tasks', 'stalls'];

class Observer {
  static async start(url) {
    return new Observer(await connect(url, '/lab', 'websocket'));
  }

  constructor(socket) {
    this.socket = socket;
    // It has done nothing wrong either.
    this.problems = [];
    socket.on('incident', (incident) => this.problems.push(`the observer was told of ${JSON.stringify(incident)}`));
    socket.on('disconnect', (reason) => this.problems.push(`the observer was disconnected: ${reason}`));
  }

  /** Nothing has happened to the observer itself. */
  unharmed() {
    assert.deepEqual(this.problems, []);
  }

  /** What the server knows now. */
  async stats() {
    const stats = await this.socket.timeout(2000).emitWithAck('stats');
    for (const counter of [...COUNTERS, 'panics']) {
      assert.equal(typeof stats[counter], 'number', `stats.${counter} of ${JSON.stringify(stats)}`);
    }
    assert.equal(typeof stats.rooms, 'object', 'stats.rooms');
    assert.equal(typeof stats.ns, 'object', 'stats.ns');
    return stats;
  }

  /** The counters when nobody but the observer is there: exact, once two readings agree. */
  async empty() {
    let last;
    return until(3000, 'the counters to stand still', async () => {
      const now = await this.stats();
      const same = last && COUNTERS.every((counter) => now[counter] === last[counter]);
      last = now;
      return same && now;
    });
  }

  /**
   * The highest counters over a tenth of a second. A polling client opens a connection for each request, so with
   * bystanders the counters breathe; with five offenders at once, what they would leave is more than that.
   */
  async baseline() {
    const highest = await this.stats();
    for (let sample = 0; sample < 10; sample += 1) {
      await pause(10);
      const now = await this.stats();
      for (const counter of COUNTERS) highest[counter] = Math.max(highest[counter], now[counter]);
      for (const [path, { sockets }] of Object.entries(now.ns)) {
        highest.ns[path] = { sockets: Math.max(sockets, highest.ns[path]?.sockets ?? 0) };
      }
    }
    return highest;
  }

  /** Waits until the counters are at `baseline` or below, and `rooms` are gone. */
  async backTo(baseline, { rooms = [], ms = 1000 } = {}) {
    return until(ms, 'the server to forget what left', async () => {
      const now = await this.stats();
      const over = COUNTERS.filter((counter) => now[counter] > baseline[counter])
        .map((counter) => `${counter} ${now[counter]} instead of ${baseline[counter]}`);
      const left = rooms.filter((room) => now.rooms[room]).map((room) => `room ${room} with ${now.rooms[room]}`);
      const namespaces = Object.entries(now.ns)
        .filter(([path, { sockets }]) => sockets > (baseline.ns[path]?.sockets ?? 0))
        .map(([path, { sockets }]) => `${sockets} sockets in ${path}`);
      const rest = [...over, ...left, ...namespaces];
      if (rest.length === 0) return now;
      throw new Error(`still there: ${rest.join(', ')}`);
    });
  }

  /** Waits until exactly `expected` more panics are counted than in `before`. */
  async panicsSince(before, expected, ms = 2000) {
    let seen = 0;
    await until(ms, `${expected} panics to be counted`, async () => {
      seen = (await this.stats()).panics - before.panics;
      if (seen >= expected) return true;
      throw new Error(`${seen} are`);
    });
    assert.equal(seen, expected, 'panics counted');
  }
}

module.exports = { COUNTERS, Observer };
