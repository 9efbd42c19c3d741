'use strict';
// Clients of the older protocol (socket.io-client 2), where the server speaks it.

const assert = require('node:assert/strict');
const ioV2 = require('socket.io-client-v2');
const { next, within } = require('../lib/deadline');
const { checkIncident } = require('../lib/offender');
const { stage } = require('../lib/stage');

const set = stage({ name: 'protocol-v4' });

for (const transport of ['websocket', 'polling']) {
  set.test(`a client of the older protocol over ${transport} is told, closed and comes back`, async (context) => {
    const baseline = await set.observer.baseline();
    const options = { transports: [transport], forceNew: true, reconnectionDelay: 50, timeout: 3000 };
    const socket = ioV2(`${set.url}/lab`, options);
    const refused = next(socket, 'connect_error', 5000).then(() => 'refused');
    const connected = next(socket, 'connect', 5000).then(() => 'connected');
    if ((await Promise.race([connected, refused])) === 'refused') {
      socket.close();
      return context.skip('this server does not speak the older protocol');
    }
    [refused, connected].forEach((other) => other.catch(() => {}));
    const told = next(socket, 'incident', 3000);
    const closed = next(socket, 'disconnect', 3000);
    socket.emit('panic_async', {});
    checkIncident((await told)[0]);
    await closed;
    await next(socket, 'connect', 5000);
    const answer = await within(3000, 'the ack', new Promise((resolve) => socket.emit('echo', 'back', resolve)));
    assert.equal(answer, 'back');
    socket.disconnect();
    await set.observer.backTo(baseline);
    return undefined;
  });
}
