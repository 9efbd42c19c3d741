'use strict';
// The text of a panic is for the log. A client gets it only where the settings say so.

const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { closeAll, connect } = require('../lib/client');
const { LIVE_FAULTS } = require('../lib/faults');
const { Offender, checkIncident } = require('../lib/offender');
const { startServer } = require('../lib/server');
const { next, until } = require('../lib/deadline');

const servers = {};

before(async () => {
  servers.hidden = await startServer({ name: 'details-hidden' });
  servers.exposed = await startServer({ name: 'details-exposed', settings: { 'detection.expose_details': true } });
});

after(async () => {
  closeAll();
  await Promise.all(Object.values(servers).map((server) => server.stop()));
});

async function incidentOf(server, fault) {
  const socket = await connect(server.url, '/lab', 'websocket', { reconnection: false });
  new Offender(socket);
  const told = next(socket, 'incident', 3000);
  fault.fire(socket, { ack: false });
  return (await told)[0];
}

for (const fault of LIVE_FAULTS) {
  test(`${fault.name}: its text is in the message only with detection.expose_details`, async () => {
    const hidden = await incidentOf(servers.hidden, fault);
    const exposed = await incidentOf(servers.exposed, fault);
    checkIncident(hidden);
    checkIncident(exposed, { details: true });
    assert.notEqual(exposed.message, hidden.message);
    assert.ok(!hidden.message.includes(exposed.message));
    // The log has the text in any case, and so it shows what the text is.
    // The client is told before anything is written.
    await until(2000, `something of ${JSON.stringify(exposed.message)} in the log`, () => {
      const texts = servers.exposed.lines.map(({ text }) => text).join('\n');
      return longestShared(exposed.message, texts).length >= 5;
    });
  });
}

/** The longest run of words of `message` that also occurs in `text`. */
function longestShared(message, text) {
  const words = message.split(' ');
  let longest = '';
  for (let first = 0; first < words.length; first += 1) {
    for (let last = first + 1; last <= words.length; last += 1) {
      const run = words.slice(first, last).join(' ');
      if (run.length > longest.length && text.includes(run)) longest = run;
    }
  }
  return longest;
}
