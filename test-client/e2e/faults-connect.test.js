'use strict';
// Faults while a client connects to a namespace: in the connect handler and in a middleware.

const assert = require('node:assert/strict');
const { performance } = require('node:perf_hooks');
const { close, connect, dial, echoes, share } = require('../lib/client');
const { next } = require('../lib/deadline');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const OFFENDERS = 5;
const TRANSPORTS = ['websocket', 'polling', 'upgrade'];
const REFUSED = /incident 0|\(incident [0-9A-Z]{26}\)/;

const set = stage({ name: 'faults-connect' });

for (const transport of TRANSPORTS) {
  for (const namespace of ['/lab_bad_connect', '/lab_bad_connect_sync']) {
    set.test(`${namespace} over ${transport}: told in that namespace, closed, forgotten within a second`, async () => {
      const baseline = await set.observer.baseline();
      const fates = await Promise.all(
        Array.from({ length: OFFENDERS }, () => {
          const offender = new Offender(dial(set.url, namespace, transport, { reconnection: false }));
          // Connecting is the fault.
          return offender.sinks(() => {});
        }),
      );
      assert.equal(new Set(fates.map(({ incident }) => incident.id)).size, OFFENDERS);
      await set.observer.backTo(baseline, { ms: 1000 });
      await set.observer.panicsSince(baseline, OFFENDERS);
    });
  }

  set.test(`a connection with a good and a bad namespace over ${transport}: sinks whole, the good one returns`, async () => {
    const baseline = await set.observer.baseline();
    const good = new Offender(await set.connect(transport));
    const bad = new Offender(share(good.socket, '/lab_bad_connect'));
    // It would come back, and sink the connection again, for as long as its client wants it.
    bad.socket.on('incident', () => bad.socket.disconnect());

    await good.hears('disconnect');
    // One connection is one compartment: all its namespaces end, and each is told why, once.
    assert.equal(bad.incidents.length, 1, 'told where it happened');
    assert.equal(good.incidents.length, 1, 'told where it ends as well');
    assert.equal(good.incidents[0][0].id, bad.incidents[0][0].id);
    await good.hears('connect');
    await echoes(good.socket, 'back');

    close(bad.socket, good.socket);
    await set.observer.backTo(baseline);
    await set.observer.panicsSince(baseline, 1);
  });

  set.test(`/lab_bad_middleware over ${transport}: refused with the incident, at once`, async () => {
    const baseline = await set.observer.baseline();
    const sockets = await Promise.all(
      Array.from({ length: OFFENDERS }, async () => {
        const lab = await connect(set.url, '/lab', transport, { reconnection: false });
        const started = performance.now();
        const refused = share(lab, '/lab_bad_middleware');
        const [error] = await next(refused, 'connect_error', 2000);
        const took = performance.now() - started;
        assert.match(error.message, REFUSED);
        assert.doesNotMatch(error.message, /panicked|\.rs\b/);
        assert.ok(took < 500, `refused after ${took} ms`);
        return lab;
      }),
    );
    await set.observer.panicsSince(baseline, OFFENDERS);
    close(...sockets);
    await set.observer.backTo(baseline);
  });

  set.test(`/lab_bad_middleware as the only namespace over ${transport}: refused, forgotten within a second`, async () => {
    const baseline = await set.observer.baseline();
    const socket = dial(set.url, '/lab_bad_middleware', transport, { reconnection: false });
    const [error] = await next(socket, 'connect_error', 2000);
    assert.match(error.message, REFUSED);
    close(socket);
    await set.observer.backTo(baseline);
    await set.observer.panicsSince(baseline, 1);
  });
}
