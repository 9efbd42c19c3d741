'use strict';
// What nearly every test file needs: a server, bystanders, somebody who counts, and the checks at the end.

const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { Bystanders } = require('./bystanders');
const { close, closeAll, connect, opened } = require('./client');
const { until } = require('./deadline');
const { HealthWatch } = require('./health');
const { Observer } = require('./observer');
const { startServer } = require('./server');

// For a test that waits for ever although all its waits have deadlines.
const TEST_MS = 90_000;

/**
 * Sets the stage for a test file: a server with bystanders on every transport. After each test the bystanders must be
 * unharmed and `/health` OK; at the end nothing may be left and the server must end with code 0.
 *
 * @param {object} options those of `startServer`; `bystanders`: their transports, none for a server without the lab.
 */
function stage({ bystanders = ['websocket', 'polling', 'upgrade'], ...options }) {
  const set = {};

  before(async () => {
    set.server = await startServer(options);
    set.url = set.server.url;
    if (options.lab !== false) {
      set.observer = await Observer.start(set.url);
      set.empty = await set.observer.empty();
      set.descriptors = set.server.descriptors();
      if (bystanders.length > 0) set.bystanders = await Bystanders.start(set.url, bystanders);
    }
    set.health = new HealthWatch(set.url);
  });

  after(async () => {
    try {
      await set.health?.stop();
      await set.bystanders?.stop();
      // A file may have several stages, one after the other or at once.
      const own = opened(set.url);
      own.delete(set.observer?.socket);
      close(...own);
      // Without the breathing of the bystanders the counters are exact: one thing left behind by any test shows.
      if (set.observer) await nothingLeft(set);
    } finally {
      close(...opened(set.url));
      if (set.server) {
        const alive = set.server.alive;
        const code = await set.server.stop();
        assert.ok(alive, `the server died before the end; see ${set.server.log.path}`);
        assert.equal(code, 0, 'the exit code of the server');
      }
    }
  });

  /** A client of the lab. */
  set.connect = (transport, options = {}, namespace = '/lab') => connect(set.url, namespace, transport, options);

  /** Nobody but the offender has noticed anything. */
  set.othersUnharmed = async () => {
    assert.ok(set.server.alive, `the server died; see ${set.server.log.path}`);
    set.observer?.unharmed();
    await Promise.all([set.bystanders?.unharmed(), set.health.good()]);
  };

  /** A test after which the others must be unharmed. */
  set.test = (name, body) =>
    test(name, { timeout: TEST_MS }, async (context) => {
      const before = opened();
      try {
        await body(context);
        await set.othersUnharmed();
      } finally {
        // What a failed test leaves must not fail the next.
        closeAll(before);
      }
    });

  return set;
}

async function nothingLeft({ observer, server, empty, descriptors }) {
  await observer.backTo(empty, { ms: 3000 });
  await until(3000, 'the file descriptors of those who left to be closed', () => {
    const now = server.descriptors();
    if (now === undefined || now <= descriptors) return true;
    throw new Error(`${now} instead of ${descriptors}`);
  });
}

module.exports = { stage };
