'use strict';
// A client that ends the process and comes back to do it again is stopped after the second death at the latest: by its
// name or its address, which is refused, or by its event, which is switched off.

const assert = require('node:assert/strict');
const http = require('node:http');
const { describe } = require('node:test');
const { until } = require('../lib/deadline');
const { PARENT_TOLD, died, operators } = require('../lib/deaths');
const { mourning } = require('../lib/mourning');
const { Pill } = require('../lib/pill');

const TRANSPORTS = ['websocket', 'polling'];
const CROWD = { count: 20 };
const FORGIVING = { 'supervisor.restart_reset_ms': 100, 'supervisor.restarts': 1000, 'supervisor.restart_base_ms': 20 };
const WEDGE = { 'supervisor.wedge_limit_ms': 700 };
const OPEN_MS = 60_000;

let last = 0;
/** A name that nobody had before. */
const user = () => `user:${(last += 1)}`;

let host = 16;
/** Options of a client with an address of this machine that nobody had before. */
const elsewhere = () => ({ agent: new http.Agent({ localAddress: `127.0.0.${(host += 1)}` }) });

/**
 * A pill is swallowed. After `deaths` of the process (a number, or the least and the most) it must be stopped, which
 * `isStopped` waits for, and nobody else may notice more than that.
 */
async function stopped(set, transport, { deaths, isStopped, ...pill }) {
  const from = set.server.mark();
  // Whoever speaks at the instant of a kill is a suspect as well, and then nobody is for certain.
  set.crowd.quiet();
  const since = set.crowd.mark();
  const [least, most = least] = [deaths].flat();
  const incidents = [];
  const swallowed = await Pill.swallow(set.url, transport, pill);
  let worker;
  try {
    for (let mark = from; incidents.length < least; mark = set.server.mark()) {
      incidents.push((await died(set.server, mark)).incident);
    }
    worker = set.server.worker();
    await isStopped(swallowed, incidents);
  } finally {
    swallowed.stop();
  }
  await set.crowd.back(since);
  set.crowd.talk();
  const { length } = set.server.lines.slice(from).filter(({ text }) => PARENT_TOLD.test(text));
  assert.ok(length >= least && length <= most, `${length} deaths; ${most} are allowed`);
  if (length === least) assert.equal(set.server.worker(), worker, 'the process that serves');
}

/** Its name is refused where it says it. */
async function nameRefused(pill, incidents) {
  for (const { by, incident, retryMs } of await pill.refused()) {
    assert.equal(by, 'notice');
    assert.equal(incident, incidents.at(-1), 'the incident that led to it');
    assert.ok(retryMs > 0, `${retryMs} ms`);
  }
}

/** Its address is refused where it connects. */
async function addressRefused(pill, incidents) {
  for (const { by, incident, retryMs } of await pill.refused()) {
    assert.equal(by, 'connect_error');
    assert.equal(incident, incidents.at(-1), 'the incident that led to it');
    assert.ok(retryMs > 0, `${retryMs} ms`);
  }
}

/** Its event is answered with that it is switched off. */
async function switchedOff(pill) {
  for (const answer of await pill.switchedOff()) {
    assert.equal(answer.code, 'breaker_open', JSON.stringify(answer));
    assert.ok(answer.retryAfterMs > 0 && answer.retryAfterMs <= OPEN_MS, `${answer.retryAfterMs} ms`);
  }
}

describe('a pill with a name', () => {
  // Events are not switched off, so that it is the name that is stopped.
  const set = mourning({ name: 'poison-name', crowd: CROWD, breakers: false, settings: { ...FORGIVING, ...WEDGE } });

  for (const transport of TRANSPORTS) {
    for (const event of ['abort', 'overflow', 'segv', 'double_panic']) {
      set.test(`${event} over ${transport}: it is refused after the first death`, () =>
        stopped(set, transport, { name: user(), event, deaths: 1, isStopped: nameRefused }));
    }
    for (const event of ['kill', 'wedge']) {
      set.test(`${event} over ${transport}: it is refused after the second death`, () =>
        stopped(set, transport, { name: user(), event, deaths: 2, isStopped: nameRefused }));
    }
  }
});

describe('a pill with an address of its own', () => {
  const set = mourning({ name: 'poison-address', crowd: CROWD, breakers: false, settings: FORGIVING });

  for (const transport of TRANSPORTS) {
    for (const [event, deaths] of [['abort', 1], ['kill', 2]]) {
      set.test(`${event} over ${transport}: its address is refused after ${deaths} of its deaths`, () =>
        stopped(set, transport, { options: elsewhere(), event, deaths, isStopped: addressRefused }));
    }
  }
});

describe('a pill that nobody can tell from the others', () => {
  const set = mourning({
    name: 'poison-event',
    crowd: CROWD,
    settings: { ...FORGIVING, ...WEDGE, 'recovery.breaker_open_ms': OPEN_MS },
  });
  const cases = [['abort', 'websocket'], ['overflow', 'polling'], ['segv', 'websocket'], ['double_panic', 'polling']];

  for (const [event, transport] of [...cases, ['kill', 'websocket'], ['wedge', 'polling']]) {
    set.test(`${event} over ${transport}: the event is switched off after the second death`, async () => {
      // Who is at work among others is one suspect of many, and no event is switched off for that.
      const calm = event === 'kill' ? set.crowd.calm() : undefined;
      await stopped(set, transport, { event, deaths: 2, calm, isStopped: switchedOff });
      const { breakers } = await operators(set.url);
      assert.ok(breakers.some(({ activity }) => activity.name === event), JSON.stringify(breakers));
    });
  }
});

describe('a pill that does not wait to be welcome', () => {
  const set = mourning({ name: 'poison-hasty', crowd: CROWD, settings: FORGIVING });

  for (const [event, transport] of [['abort', 'websocket'], ['segv', 'polling']]) {
    set.test(`${event} over ${transport}: it is stopped after the second death at the latest`, async () => {
      // What it sends together with its name may be handled before that is refused: then it is the event that stops it.
      const isStopped = (pill) => pill.stopped(10);
      await stopped(set, transport, { name: user(), event, hasty: true, deaths: [1, 2], isStopped });
    });
  }
});

describe('a pill that waits until it may come back', () => {
  const BASE_MS = 500;
  const ROUNDS = 3;
  const doubled = (ms, round) => {
    const expected = BASE_MS * 2 ** round;
    assert.ok(ms >= 0.85 * expected && ms <= 1.15 * expected, `${ms.toFixed(0)} ms; about ${expected} are expected`);
  };

  describe('with a name', () => {
    const settings = { ...FORGIVING, 'recovery.quarantine_base_ms': BASE_MS };
    const set = mourning({ name: 'poison-longer-name', crowd: CROWD, breakers: false, settings });

    set.test('it is refused for twice as long after each further death', async () => {
      const name = user();
      for (let round = 0; round < ROUNDS; round += 1) {
        const culprit = await until(5000, `${name} to be welcome`, () => set.named('websocket', name), 50);
        const { incident } = await set.dies(culprit, 'abort');
        await set.server.line(/the worker is ready/);
        const line = await set.server.line(new RegExp(`🚫 Quarantined: ${name} incident=${incident}`, 'u'));
        assert.match(line, new RegExp(`level=${round + 1}\\b`));
        doubled(Number(/retry_after_ms=(\d+)/.exec(line)[1]), round);
      }
    });
  });

  describe('with an event', () => {
    const settings = { ...FORGIVING, 'recovery.breaker_open_ms': BASE_MS };
    const set = mourning({ name: 'poison-longer-event', crowd: CROWD, settings });

    set.test('it is switched off for twice as long after each further death', async () => {
      await set.dies(await set.connect('websocket'), 'abort');
      for (let round = 0; round < ROUNDS; round += 1) {
        const culprit = await set.connect('websocket');
        await until(5000, 'the event to be on again', async () => {
          const from = set.server.mark();
          const answer = await culprit.timeout(2000).emitWithAck('abort', {}).catch(() => undefined);
          return answer === undefined && (await died(set.server, from));
        });
        const { breakers } = await operators(set.url);
        const state = breakers.find(({ activity }) => activity.name === 'abort');
        assert.ok(state, JSON.stringify(breakers));
        doubled(state.open_for_ms, round);
      }
    });
  });
});
