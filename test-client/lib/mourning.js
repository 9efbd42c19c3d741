'use strict';
// The stage for deaths: a server, a crowd of those who did nothing, and one death after the other.

const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { close, closeAll, connect, opened } = require('./client');
const { Crowd } = require('./crowd');
const { die, operators } = require('./deaths');
const { Knocks } = require('./probes');
const { startServer } = require('./server');

const TEST_MS = 60_000;

/**
 * A server that dies, and a crowd. After each test the crowd must be there, be answered, and not be blamed.
 *
 * @param {object} options those of `startServer`, but that faults are held against who causes them; `crowd`: that of
 *   `Crowd.start`.
 */
function mourning({ crowd = {}, ...options }) {
  const set = {};

  before(async () => {
    set.server = await startServer({ quarantine: true, breakers: true, supervise: true, ...options });
    set.url = set.server.url;
    set.crowd = await Crowd.start(set.url, crowd);
  });

  after(async () => {
    set.crowd?.stop();
    if (!set.server) return;
    close(...opened(set.url));
    const { alive } = set.server;
    const code = await set.server.stop();
    assert.ok(alive, `the parent died; see ${set.server.log.path}`);
    assert.equal(code, 0, 'the exit code of the parent');
  });

  /** A client of the lab that does not come back by itself. */
  set.connect = (transport, options_ = {}, namespace = '/lab') =>
    connect(set.url, namespace, transport, { reconnection: false, ...options_ });

  /** A client that has said who it is. */
  set.named = async (transport, name) => {
    const socket = await set.connect(transport);
    assert.equal(await socket.timeout(3000).emitWithAck('identify', name), null, `${name} is refused`);
    return socket;
  };

  /**
   * `socket` fires `event` and the process dies. Everybody of the crowd must be back in time, without a failed connect.
   * Answers what the parent said.
   */
  set.dies = async (socket, event, { data, ms } = {}) => {
    const knocks = new Knocks(set.url);
    const since = set.crowd.mark();
    const words = await die(set.server, socket, event, { data, ms });
    await set.crowd.backSoon(event, since);
    const { opened: count } = await knocks.stop();
    assert.deepEqual(set.crowd.causes(), {}, 'connects that failed');
    console.log(`${event}: ${count} further connections, none refused`);
    return words;
  };

  /** A test after which the crowd must be unharmed and nobody's address be refused. */
  set.test = (name, body) =>
    test(name, { timeout: TEST_MS }, async () => {
      const kept = opened();
      try {
        await body();
        await set.crowd.unharmed();
        const { quarantined } = await operators(set.url);
        assert.deepEqual(quarantined.filter(({ identity }) => identity === '127.0.0.1'), []);
      } finally {
        closeAll(kept);
      }
    });

  return set;
}

module.exports = { mourning };
