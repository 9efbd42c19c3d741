#!/usr/bin/env node
'use strict';
// The four tests of the founding document, against a server that runs:
//
//   node test-panic-recovery.js [URL]        (default http://localhost:3002)
//
// A server started with --lab is tested with real panics; any other with what a broken client can do.

const assert = require('node:assert/strict');
const { close, closeAll, connect, connected, dial, echoes, share } = require('./lib/client');
const { next, within } = require('./lib/deadline');
const { LIVE_FAULTS } = require('./lib/faults');
const { MISBEHAVIOUR, NOBODY } = require('./lib/misbehaviour');
const { Offender } = require('./lib/offender');
const { get } = require('./lib/server');

const USAGE = 'usage: node test-panic-recovery.js [URL]    (default http://localhost:3002)';
const TEST_MS = 60_000;
const CONNECTIONS = 12;
const TRANSPORTS = ['websocket', 'polling', 'upgrade'];

/** What the script found out about the server. */
const server = { url: '', lab: false };

const TESTS = [
  ['Normal connection', normalConnection],
  ['Problematic socket', problematicSocket],
  ['Multiple connections', multipleConnections],
  ['Server health', serverHealth],
];

async function normalConnection() {
  for (const transport of TRANSPORTS) {
    const socket = await connect(server.url, namespace(), transport, { reconnection: false });
    await answers(socket);
    done(`a client connects over ${named(transport)} and gets answers`);
    close(socket);
  }
}

async function problematicSocket() {
  const others = await bystanders(3);
  for (const [what, way] of [
    ['a ping frame of the WebSocket protocol, as in the founding panic', MISBEHAVIOUR.pingFrame],
    ['garbage instead of packets', MISBEHAVIOUR.garbage],
    ['binary attachments that never come', MISBEHAVIOUR.attachments],
    ['an end without a word', MISBEHAVIOUR.abruptEnd],
  ]) {
    const end = await way(server.url);
    await unharmed(others);
    done(`${what}: handled (${end}), the others notice nothing`);
  }
  if (server.lab) await realPanics(others);
  close(...others);
}

async function realPanics(others) {
  for (const transport of ['websocket', 'polling']) {
    for (const fault of LIVE_FAULTS) {
      const offender = new Offender(await connect(server.url, '/lab', transport));
      const { incident, toldMs } = await offender.sinks((socket) => fault.fire(socket, { ack: false }), {
        mayBeUntold: fault.mayBeUntold.includes(transport),
      });
      await offender.hears('connect');
      await answers(offender.socket);
      close(offender.socket);
      await unharmed(others);
      const told = incident ? `told after ${toldMs.toFixed(1)} ms (incident ${incident.id})` : 'closed';
      done(`a panic in ${fault.place}, over ${named(transport)}: ${told}, reconnected, the others notice nothing`);
    }
  }
}

async function multipleConnections() {
  const all = await bystanders(CONNECTIONS);
  done(`${CONNECTIONS} clients are connected, over every transport`);
  const bad = await Promise.all(Array.from({ length: 6 }, (_, number) => sink(number)));
  done(`${bad.length} others misbehave at the same time, and all of them are dealt with`);
  await unharmed(all);
  done(`all ${CONNECTIONS} clients are still connected and get answers`);
  const late = await bystanders(3);
  await unharmed(late);
  done('new clients are welcome');
  close(...all, ...late);
}

/** One more problematic client: a panic where there is a lab, else misbehaviour. */
async function sink(number) {
  if (!server.lab) {
    const ways = Object.values(MISBEHAVIOUR);
    return ways[number % ways.length](server.url);
  }
  const socket = await connect(server.url, '/lab', TRANSPORTS[number % TRANSPORTS.length], { reconnection: false });
  return new Offender(socket).sinks(() => socket.emit('panic_async', {}));
}

async function serverHealth() {
  const { status, body } = await get(`${server.url}/health`);
  assert.equal(status, 200, 'the status of /health');
  assert.equal(body.trim(), 'OK', 'the body of /health');
  done('/health says OK');
  const socket = await connect(server.url, '/', 'websocket', { reconnection: false });
  await answers(socket, false);
  close(socket);
  done('the server accepts connections and answers');
}

/** Clients that do nothing wrong and must not be disconnected. */
function bystanders(count) {
  return Promise.all(
    Array.from({ length: count }, (_, number) =>
      connect(server.url, namespace(), TRANSPORTS[number % TRANSPORTS.length], { reconnection: false }),
    ),
  );
}

async function unharmed(sockets) {
  for (const socket of sockets) assert.ok(socket.connected, 'a client that did nothing wrong was disconnected');
  await Promise.all(sockets.map((socket) => answers(socket)));
}

/** The server reads what this client says and answers: by echo, or by refusing an unknown namespace. */
async function answers(socket, lab = server.lab) {
  if (lab) return echoes(socket, { seen: Date.now() });
  const nobody = share(socket, NOBODY);
  await next(nobody, 'connect_error', 3000);
  close(nobody);
}

function namespace() {
  return server.lab ? '/lab' : '/';
}

function named(transport) {
  return { websocket: 'a WebSocket', polling: 'polling', upgrade: 'polling with an upgrade' }[transport];
}

function done(text) {
  console.log(`  ✅ ${text}`);
}

/** Whether the server offers its lab. */
async function findLab() {
  const socket = dial(server.url, '/lab', 'websocket', { reconnection: false });
  try {
    await connected(socket);
    return true;
  } catch (error) {
    if (/invalid namespace/i.test(error.message)) return false;
    throw error;
  } finally {
    close(socket);
  }
}

async function run() {
  let failed = 0;
  for (const [number, [name, test]] of TESTS.entries()) {
    console.log(`\nTest ${number + 1}: ${name}`);
    try {
      await within(TEST_MS, `the test "${name}"`, test());
    } catch (error) {
      failed += 1;
      console.log(`  ❌ ${error.message}`);
    } finally {
      closeAll();
    }
  }
  console.log(`\n${failed === 0 ? '✅' : '❌'} ${TESTS.length - failed} of ${TESTS.length} tests passed`);
  if (failed > 0) console.log('   The log of the server says more: look for 💥, 🔌 and ⚠️.');
  return failed === 0 ? 0 : 1;
}

async function main([url = 'http://localhost:3002', ...rest]) {
  if (rest.length > 0 || !/^https?:\/\//.test(url)) {
    console.error(USAGE);
    return 2;
  }
  server.url = url.replace(/\/$/, '');
  console.log(`Panic recovery of the server at ${server.url}`);
  try {
    await get(`${server.url}/health`, 5000);
    server.lab = await findLab();
  } catch (error) {
    console.error(`❌ No server answers at ${server.url} (${error.code ?? error.message}).`);
    console.error('   Start it in the root of the repository with `cargo run --release`, or with real panics to test:');
    console.error('   `cargo run --release -- --lab`. When it listens elsewhere, give its address:');
    console.error('   `node test-panic-recovery.js http://host:port`');
    return 1;
  }
  console.log(
    server.lab
      ? 'It offers its lab, so real panics are used.'
      : 'It offers no lab (start it with --lab for real panics), so it is tested with what a broken client can do.',
  );
  return run();
}

// `exit`, because a socket that is still closing must not keep the script.
main(process.argv.slice(2)).then((code) => process.exit(code), (error) => {
  console.error(`❌ ${error.stack}`);
  process.exit(1);
});
