'use strict';
// The log: the founding document's lines word for word for people, the same facts as JSON for machines.

const assert = require('node:assert/strict');
const { after, before, describe, test } = require('node:test');
const { closeAll, connect } = require('../lib/client');
const { LIVE_FAULTS } = require('../lib/faults');
const { Offender } = require('../lib/offender');
const { startServer } = require('../lib/server');

const DETECTED = /🔌 WebSocket transport panic detected at \S+:\d+/;
const RECOVER = '🛠️ Server will attempt to recover and disconnect problematic sockets';
const RECOVERY_MODE = '🔄 Panic recovery mode activated - monitoring for problematic sockets';
const DISCONNECTING = (id) => `🔌 Disconnecting problematic socket: ${id}`;
const DISCONNECTED = (id) => `✅ Successfully disconnected problematic socket: ${id}`;

const TRANSPORT_FAULT = LIVE_FAULTS.find(({ name }) => name === 'panic_transport');

/** Sinks one client and returns what it was. */
async function sink(server, fault, transport) {
  const socket = await connect(server.url, '/lab', transport, { reconnection: false });
  const offender = new Offender(socket);
  const mayBeUntold = fault.mayBeUntold.includes(transport);
  const fate = await offender.sinks(() => fault.fire(socket, { ack: false }), { mayBeUntold });
  return { id: offender.id, ...fate };
}

/** The position of the first line that contains or matches, for comparing the order. */
function position(server, pattern) {
  const matches = (text) => (typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text));
  return server.lines.findIndex(({ text }) => matches(text));
}

describe('for people', () => {
  let server;
  before(async () => (server = await startServer({ name: 'logs-human' })));
  after(async () => {
    closeAll();
    await server.stop();
  });

  test("a panic in the transport: all five of the founding document's lines, in its order", async () => {
    const bystander = await connect(server.url, '/lab', 'websocket');
    const { id } = await sink(server, TRANSPORT_FAULT, 'websocket');
    const lines = [DETECTED, RECOVER, RECOVERY_MODE, DISCONNECTING(id), DISCONNECTED(id)];
    for (const line of lines) await server.line(line);
    const positions = lines.map((line) => position(server, line));
    assert.deepEqual(positions, [...positions].sort((a, b) => a - b), 'the order of the lines');
    assert.equal(position(server, DISCONNECTING(bystander.id)), -1, 'only the problematic socket');
  });

  for (const transport of ['websocket', 'polling']) {
    for (const fault of LIVE_FAULTS) {
      test(`${fault.name} over ${transport}: the log names the socket, when it goes and when it is gone`, async () => {
        const from = server.mark();
        const { id, incident } = await sink(server, fault, transport);
        await server.line(DISCONNECTING(id), { from });
        await server.line(DISCONNECTED(id), { from });
        if (incident) await server.line(incident.id, { from });
        const named = server.lines.slice(from).filter(({ text }) => text.includes('Disconnecting problematic socket'));
        assert.equal(named.length, 1, 'one socket, named once');
      });
    }
  }
});

describe('for machines', () => {
  test('--log-format json: every line is one JSON object with the facts as fields, and no emoji', async () => {
    const server = await startServer({ name: 'logs-json', args: ['--log-format', 'json'] });
    const sunk = [];
    try {
      for (const fault of LIVE_FAULTS) sunk.push(await sink(server, fault, 'websocket'));
      for (const { incident } of sunk) await server.line(incident.id);
    } finally {
      closeAll();
      await server.stop();
    }

    const records = server.lines
      .filter(({ stream, text }) => text !== '' && !(stream === 'stdout' && text.startsWith('listening on ')))
      .map(({ text }) => {
        assert.doesNotMatch(text, /\p{Extended_Pictographic}/u, text);
        return JSON.parse(text);
      });
    assert.ok(records.length >= LIVE_FAULTS.length);
    for (const record of records) {
      assert.equal(typeof record.timestamp, 'string', JSON.stringify(record));
      assert.match(record.level, /^(ERROR|WARN|INFO|DEBUG|TRACE)$/);
    }
    for (const { id, incident } of sunk) {
      const about = records.filter((record) => JSON.stringify(record).includes(incident.id));
      assert.ok(about.length > 0, `no record of the incident ${incident.id}`);
      assert.ok(about.some((record) => JSON.stringify(record).includes(id)), `no record ties it to the socket ${id}`);
    }
  });
});
