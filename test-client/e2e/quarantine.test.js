'use strict';
// Whoever crashes again and again is refused for a while, twice as long each time; nobody else is.

const assert = require('node:assert/strict');
const http = require('node:http');
const { describe } = require('node:test');
const { close, connected, echoes } = require('../lib/client');
const { next, until } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const BASE_MS = 500;
const RETRY_MS = 50;
const TRANSPORTS = ['websocket', 'polling'];
const REFUSED = /^quarantined; retry after (\d+) ms \(incident ([0-9A-Z]{26})\)$/;

const settings = {
  'recovery.quarantine_base_ms': BASE_MS,
  'recovery.retry_after_ms': RETRY_MS,
  // For so long socketioxide remembers a session that polled and was let in nowhere.
  'server.connect_timeout_ms': 1000,
};

let last = 0;
/** A name that nobody had before. */
const user = () => `user:${(last += 1)}`;

let host = 16;
/** Options of a client with an address of this machine that nobody had before, or with `address`. */
function elsewhere(address = `127.0.0.${(host += 1)}`) {
  return { address, agent: new http.Agent({ localAddress: address }) };
}

/** Says who it is. Answers why it is refused, if it is. */
function identify(socket, name) {
  return socket.timeout(3000).emitWithAck('identify', name);
}

/** Causes a fault and answers the incident and why the connection ended. */
async function fault(offender) {
  const from = offender.heard.length;
  const told = offender.incidents.length;
  offender.socket.emit('panic_async', {});
  const closed = await offender.hears('disconnect', { from });
  assert.equal(offender.incidents.length, told + 1, 'told, once');
  const [incident] = offender.incidents.at(-1);
  assert.equal(incident.code, 'panic');
  assert.equal(incident.retry, true);
  return { incident, reason: closed.data };
}

/** It was sent away for `times` the base time, by a packet: the client does not come back by itself. */
function checkHeld({ incident, reason }, times) {
  assert.equal(reason, 'io server disconnect');
  const [least, most] = [0.9 * times * BASE_MS - 50, 1.1 * times * BASE_MS];
  assert.ok(incident.retryAfterMs >= least && incident.retryAfterMs <= most, `${incident.retryAfterMs} ms`);
}

/** It was sunk as anyone is. */
function checkFree({ incident, reason }) {
  assert.notEqual(reason, 'io server disconnect');
  assert.equal(incident.retryAfterMs, RETRY_MS);
}

/** What a connect is refused with. */
async function refusal(set, transport, options, namespace = '/lab') {
  const error = await set.connect(transport, options, namespace).then(() => undefined, (refused) => refused);
  assert.ok(error, 'it was let in');
  const match = REFUSED.exec(error.message);
  assert.ok(match, error.message);
  return { retryMs: Number(match[1]), incident: match[2] };
}

for (const lanes of ['on', 'off']) {
  describe(`a name, lanes ${lanes}`, () => {
    const set = stage({ name: `quarantine-name-${lanes}`, quarantine: true, settings, args: ['--lanes', lanes] });

    for (const transport of TRANSPORTS) {
      set.test(`over ${transport}: the second fault, longer each time, and back when it is over`, async () => {
        const baseline = await set.observer.baseline();
        const name = user();
        const offender = new Offender(await set.connect(transport));
        const { socket } = offender;
        assert.equal(await identify(socket, name), null);
        checkFree(await fault(offender));

        let from = offender.heard.length;
        for (const times of [1, 2, 4]) {
          // By itself the first time, by the application's call after a packet has sent it away.
          if (times > 1) socket.connect();
          await connected(socket);
          await until(3000, 'to be welcome again', async () => {
            await connected(socket);
            return (await identify(socket, name)) === null;
          });
          await echoes(socket, times);
          let fate = await fault(offender);
          // Whether old faults still count after a quarantine is not what matters here.
          if (fate.reason !== 'io server disconnect') {
            await connected(socket);
            assert.equal(await identify(socket, name), null);
            fate = await fault(offender);
          }
          checkHeld(fate, times);

          // It may connect, since nobody knows who it is; but not under its name.
          from = offender.heard.length;
          const mark = set.server.mark();
          socket.connect();
          await connected(socket);
          const words = identify(socket, name).catch((error) => error.message);
          const closed = await offender.hears('disconnect', { from });
          assert.equal(closed.data, 'io server disconnect');
          const [notice] = offender.incidents.at(-1);
          assert.equal(notice.code, 'quarantined');
          assert.equal(notice.id, fate.incident.id, 'the incident that led to it');
          assert.ok(notice.retryAfterMs > 0 && notice.retryAfterMs <= fate.incident.retryAfterMs);
          const answer = await words;
          if (REFUSED.test(answer)) assert.equal(REFUSED.exec(answer)[2], fate.incident.id);
          await set.server.line(fate.incident.id, { from: mark });
          await pastQuarantine(set, transport, name);
        }
        close(socket);
        await set.observer.backTo(baseline);
      });

      set.test(`over ${transport}: others with the same address and other names are not refused`, async () => {
        const guilty = user();
        const innocent = await set.connect(transport, { reconnection: false });
        assert.equal(await identify(innocent, user()), null);
        for (let count = 0; count < 2; count += 1) {
          const offender = new Offender(await set.connect(transport, { reconnection: false }));
          assert.equal(await identify(offender.socket, guilty), null);
          await fault(offender);
        }
        await echoes(innocent, 'as before');
        const another = await set.connect(transport, { reconnection: false });
        assert.equal(await identify(another, user()), null);
        await echoes(another, 'welcome');
        close(innocent, another);
      });

      set.test(`over ${transport}: who was quarantined in one connection is refused in another`, async () => {
        const name = user();
        const old = new Offender(await set.connect(transport, { reconnection: false }));
        assert.equal(await identify(old.socket, name), null);
        for (let count = 0; count < 2; count += 1) {
          const offender = new Offender(await set.connect(transport, { reconnection: false }));
          assert.equal(await identify(offender.socket, name), null);
          const fate = await fault(offender);
          if (count === 1) checkHeld(fate, 1);
        }
        // What is open already stays: it has done nothing.
        await echoes(old.socket, 'still here');
        const late = new Offender(await set.connect(transport, { reconnection: false }));
        identify(late.socket, name).catch(() => {});
        await late.hears('disconnect');
        assert.equal(late.incidents[0][0].code, 'quarantined');
        close(old.socket);
      });
    }
  });
}

/** Waits until the name is welcome again, with connections of its own. */
function pastQuarantine(set, transport, name) {
  return until(8 * BASE_MS, `${name} to be welcome again`, async () => {
    const socket = await set.connect(transport, { reconnection: false });
    const answer = await identify(socket, name).catch((error) => error.message);
    close(socket);
    return answer === null;
  });
}

describe('an address', () => {
  const set = stage({ name: 'quarantine-address', quarantine: true, settings });

  for (const transport of TRANSPORTS) {
    set.test(`over ${transport}: alone it is refused after the second fault, before any code of the application`, async () => {
      const baseline = await set.observer.baseline();
      const place = elsewhere();
      const offender = new Offender(await set.connect(transport, place));
      checkFree(await fault(offender));
      await connected(offender.socket);
      const fate = await fault(offender);
      checkHeld(fate, 1);

      const before = await set.observer.stats();
      for (const namespace of ['/lab_bad_connect', '/lab_bad_middleware', '/lab', '/']) {
        const { retryMs, incident } = await refusal(set, transport, place, namespace);
        assert.equal(incident, fate.incident.id);
        assert.ok(retryMs > 0 && retryMs <= fate.incident.retryAfterMs, `${retryMs} ms`);
      }
      assert.equal((await set.observer.stats()).panics, before.panics, 'nothing of the application ran');
      // Its neighbour is another.
      const neighbour = await set.connect(transport, elsewhere());
      await echoes(neighbour, 'welcome');

      const back = await until(4 * BASE_MS, 'to be welcome again', () => set.connect(transport, place));
      await echoes(back, 'back');
      close(offender.socket, neighbour, back);
      await set.observer.backTo(baseline, { ms: 3000 });
    });

    set.test(`over ${transport}: shared with others it never is, until it is alone`, async () => {
      const place = elsewhere();
      const good = await set.connect(transport, place);
      const goodHears = new Offender(good);
      const offender = new Offender(await set.connect(transport, place));
      for (let count = 0; count < 4; count += 1) {
        checkFree(await fault(offender));
        await connected(offender.socket);
        await echoes(good, count);
      }
      assert.deepEqual(goodHears.words(), []);
      const gone = next(good, 'disconnect', 3000);
      close(good);
      await gone;
      const fate = await until(3000, 'the other to be forgotten', async () => {
        const one = await fault(offender);
        if (one.reason === 'io server disconnect') return one;
        await connected(offender.socket);
        return false;
      });
      checkHeld(fate, 1);
      await refusal(set, transport, place);
      close(offender.socket);
    });
  }
});

describe('behind a proxy', () => {
  const set = stage({
    name: 'quarantine-proxy',
    quarantine: true,
    settings: { ...settings, 'recovery.quarantine_base_ms': 5000, 'server.trusted_proxies': '127.0.0.1' },
  });
  const from = (forwarded, options = {}) => ({ ...options, extraHeaders: { 'X-Forwarded-For': forwarded } });

  /** Two faults of one client. */
  async function twice(transport, options) {
    let fate;
    for (let count = 0; count < 2; count += 1) {
      const offender = new Offender(await set.connect(transport, { ...options, reconnection: false }));
      fate = await fault(offender);
      close(offender.socket);
    }
    return fate;
  }

  async function welcome(transport, options) {
    const socket = await set.connect(transport, options);
    await echoes(socket, 'welcome');
    close(socket);
  }

  for (const [number, transport] of TRANSPORTS.entries()) {
    const guilty = `203.0.113.${number + 1}`;

    set.test(`over ${transport}: X-Forwarded-For of a trusted proxy says who it is`, async () => {
      const fate = await twice(transport, from(guilty));
      assert.equal(fate.reason, 'io server disconnect');
      await refusal(set, transport, from(guilty));
      // Whatever it claims to have come through before.
      await refusal(set, transport, from(`198.51.100.1, ${guilty}`));
      await welcome(transport, from('203.0.113.200'));
      await welcome(transport, from(`${guilty}, 203.0.113.201`));
      await welcome(transport, {});
    });

    set.test(`over ${transport}: of anyone else it says nothing`, async () => {
      const stranger = elsewhere();
      const blamed = `203.0.113.${number + 101}`;
      // Who claims to be a quarantined one is not, and who blames another harms nobody.
      await welcome(transport, from(guilty, stranger));
      await twice(transport, from(blamed, stranger));
      await welcome(transport, from(blamed));
      await set.server.line(/no trusted proxy/);
    });
  }
});
