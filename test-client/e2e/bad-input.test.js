'use strict';
// What no client should send, and how no client should connect: nobody else notices, nothing panics, nothing stays.

const assert = require('node:assert/strict');
const net = require('node:net');
const WebSocket = require('ws');
const { close, echoes } = require('../lib/client');
const { next, pause, until, within } = require('../lib/deadline');
const { MIB, resident } = require('../lib/memory');
const { MISBEHAVIOUR, posts, settled } = require('../lib/misbehaviour');
const { ENGINE, RawPolling, RawWebSocket, request } = require('../lib/raw');
const { stage } = require('../lib/stage');

const LEFT_KIB = 16 * MIB;
const FLOOD = 500;
const MAX_BYTES = 100_000;

// For so long socketioxide remembers a session that was let in nowhere.
const set = stage({ name: 'bad-input', settings: { 'server.connect_timeout_ms': 2000 } });
let empty;

set.test('what a server needs once, it may keep', async () => {
  await Promise.all(Object.values(MISBEHAVIOUR).map((way) => way(set.url)));
  await crowd(FLOOD);
  empty = await set.observer.baseline();
  empty.kib = resident(set.server.worker());
});

/** After each: nothing panicked and nothing stayed, not even in memory. */
function survives(name, body) {
  set.test(name, async () => {
    await body();
    const now = await set.observer.backTo(empty, { ms: 10_000 });
    assert.equal(now.panics, 0);
    const panics = set.server.lines.filter(({ text }) => /attribution=Unattributed|Application panic/.test(text));
    assert.deepEqual(panics, []);
    if (empty.kib === undefined) return;
    await until(10_000, 'the memory to be given back', () => {
      const more = resident(set.server.worker()) - empty.kib;
      if (more < LEFT_KIB) return true;
      throw new Error(`${(more / MIB).toFixed(1)} MiB more than before`);
    });
  });
}

/** `count` clients at once, each let in and gone again. */
async function crowd(count) {
  const all = await Promise.all(
    Array.from({ length: count }, async () => {
      const ws = new WebSocket(`${set.url.replace(/^http/, 'ws')}${ENGINE}&transport=websocket`);
      const raw = new RawWebSocket(ws);
      ws.on('open', () => raw.send('40/lab,'));
      await raw.frame((frame) => frame.startsWith('40/lab,{'), 'to be let in', 20_000);
      return raw;
    }),
  );
  all.forEach((raw) => raw.vanish());
}

/** A TCP connection; `answer` collects what it is sent. */
async function dial() {
  const { hostname, port } = new URL(set.url);
  const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
  socket.answer = '';
  socket.on('data', (data) => (socket.answer += data.toString('latin1')));
  // A reset is an end like any other.
  socket.on('error', () => {});
  await next(socket, 'connect', 3000);
  return socket;
}

function head(transport, sid) {
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ];
  return [
    `GET ${ENGINE}&transport=${transport}${sid === undefined ? '' : `&sid=${sid}`} HTTP/1.1`,
    `Host: ${new URL(set.url).host}`,
    ...(transport === 'websocket' ? upgrade : ['Connection: close']),
    '\r\n',
  ].join('\r\n');
}

for (const [name, way] of Object.entries({ ...MISBEHAVIOUR, posts })) {
  survives(`malformed packets: ${name}`, async () => {
    console.log(`${name}: ${await way(set.url)}`);
  });
}

survives('packets cut at every byte, on one connection each', async () => {
  const whole = Buffer.from('451-/lab,7["échoes 🚢",{"_placeholder":true,"num":0}]');
  await Promise.all(
    Array.from({ length: whole.length }, async (_, length) => {
      const raw = await RawWebSocket.open(set.url);
      await raw.join('/lab');
      raw.ws.send(whole.subarray(0, length), { binary: false }, () => {});
      await settled(raw);
      raw.vanish();
    }),
  );
});

survives(`messages of more than ${MAX_BYTES} bytes`, async () => {
  const word = (bytes) => `42/lab,["echo","${'x'.repeat(bytes)}"]`;
  for (const bytes of [MAX_BYTES, 1_000_000, 16_000_000]) {
    const raw = await RawWebSocket.open(set.url);
    await raw.join('/lab');
    raw.send(word(bytes));
    await within(5000, `the end of who sends ${bytes} bytes`, raw.closed);

    const session = await RawPolling.open(set.url);
    await session.join('/lab');
    const answer = await session.post(word(bytes)).catch(({ code }) => ({ status: code }));
    assert.ok(answer.status !== 200, `${bytes} bytes by post: ${answer.status}`);
    await session.close();
  }
  // One that is just small enough is none of that.
  const socket = await set.connect('websocket', { reconnection: false });
  await echoes(socket, 'x'.repeat(MAX_BYTES - 100));
  close(socket);
});

survives('frames that break the WebSocket protocol', async () => {
  const frames = {
    'not masked': [0x81, 0x02, 0x34, 0x30],
    'reserved bits': [0xf1, 0x82, 0, 0, 0, 0, 0x34, 0x30],
    'an unknown opcode': [0x83, 0x82, 0, 0, 0, 0, 0x34, 0x30],
    'a ping that is too long': [0x89, 0xfe, 0x01, 0x00, ...new Array(4 + 256).fill(0)],
    'a ping in parts': [0x09, 0x80, 0, 0, 0, 0],
    'the rest of nothing': [0x80, 0x80, 0, 0, 0, 0],
    'a length of 2^63': [0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    'a close code that is none': [0x88, 0x82, 0, 0, 0, 0, 0x00, 0x01],
    'a close of one byte': [0x88, 0x81, 0, 0, 0, 0, 0x03],
  };
  await Promise.all(
    Object.entries(frames).map(async ([kind, bytes]) => {
      const raw = await RawWebSocket.open(set.url);
      await raw.join('/lab');
      raw.ws._socket.write(Buffer.from(bytes));
      await within(5000, `the end after ${kind}`, raw.closed);
    }),
  );
});

survives('connections that end in the middle of everything', async () => {
  const text = head('websocket');
  const ends = { resets: (socket) => socket.resetAndDestroy(), leaves: (socket) => socket.destroy(), 'half closes': (socket) => socket.end() };
  await Promise.all(
    Object.values(ends).flatMap((end) =>
      [0, 1, 20, text.length - 2, text.length].map(async (bytes) => {
        const socket = await dial();
        const closed = next(socket, 'close', 10_000);
        await new Promise((resolve) => socket.write(text.slice(0, bytes), resolve));
        end(socket);
        await closed;
      }),
    ),
  );
  // Within a session, and in the middle of a body.
  await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      const raw = await RawWebSocket.open(set.url);
      await raw.join('/lab');
      raw.send('42/lab,["slow_ack"]');
      if (number % 2) raw.ws._socket.resetAndDestroy();
      else raw.vanish();
      const session = await RawPolling.open(set.url);
      await session.join('/lab');
      const socket = await dial();
      const { pathname, search, host } = new URL(session.url);
      socket.write(`POST ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1000\r\n\r\n42/lab,["ec`);
      await new Promise((resolve) => socket.write('ho"', resolve));
      socket.resetAndDestroy();
      await session.close();
    }),
  );
});

survives('handshakes of one byte at a time are answered', async () => {
  const expected = { websocket: 'HTTP/1.1 101', polling: 'HTTP/1.1 200' };
  await Promise.all(
    Array.from({ length: 30 }, async (_, number) => {
      const transport = number % 2 ? 'websocket' : 'polling';
      const socket = await dial();
      for (const byte of head(transport)) {
        socket.write(byte);
        await pause(4);
      }
      await until(5000, `the answer to a slow ${transport}`, () => socket.answer.startsWith(expected[transport]));
      socket.destroy();
    }),
  );
});

survives(`${FLOOD} connects at once`, async () => {
  const started = performance.now();
  await crowd(FLOOD);
  console.log(`${FLOOD} connects at once took ${(performance.now() - started).toFixed(0)} ms`);
});

survives('session ids that are guessed', async () => {
  const victims = await Promise.all(['polling', 'websocket'].map((way) => set.connect(way, { reconnection: false })));
  const near = ({ id }) => [id.slice(1), `${id}A`, id.toLowerCase(), id.toUpperCase(), ` ${id}`, `${id}%00`, [...id].reverse().join('')];
  // The id of the engine's session, not that of the socket.
  const engines = victims.map(({ io }) => io.engine);
  const guesses = [
    ...engines.flatMap((engine) => near(engine).filter((guess) => guess !== engine.id)),
    '', '0', '..%2F..%2Fetc', '%ff%fe', 'x'.repeat(4000), ...Array.from({ length: 50 }, () => random()),
  ];
  const polling = `${set.url}${ENGINE}&transport=polling`;
  for (const guess of guesses) {
    const sid = guess.includes('%') ? guess : encodeURIComponent(guess);
    const asked = [request(`${polling}&sid=${sid}`, 'GET'), request(`${polling}&sid=${sid}`, 'POST', '40/lab,'), upgraded(sid)];
    const statuses = (await Promise.all(asked)).map(({ status }) => status);
    // An empty id may be read as none at all.
    const fine = (status) => (status >= 400 && status < 500) || (guess === '' && status !== 500);
    assert.ok(statuses.every(fine), `${guess}: ${statuses}`);
  }
  // Nor can who is upgraded already be taken over by another request.
  const own = engines[1].id;
  for (const { status } of await Promise.all([request(`${polling}&sid=${own}`, 'GET'), request(`${polling}&sid=${own}`, 'POST', '1'), upgraded(own)])) {
    assert.ok(status >= 400 && status < 500, `the session of another: ${status}`);
  }
  await Promise.all(victims.map((victim) => echoes(victim, 'untouched')));
  close(...victims);

  /** The status of an upgrade. Where that is granted before the id is looked at, the end without a word counts. */
  async function upgraded(sid) {
    const socket = await dial();
    socket.write(head('websocket', sid));
    await until(3000, 'an answer', () => socket.answer.includes('\r\n\r\n') || socket.closed);
    const status = Number(/^HTTP\/1.1 (\d+)/.exec(socket.answer)?.[1]);
    if (status !== 101 || sid === '') return socket.destroy(), { status };
    await until(3000, 'the end', () => socket.closed);
    return { status: socket.answer.endsWith('\r\n\r\n') ? 404 : status };
  }
});

function random() {
  return Buffer.from(Array.from({ length: 12 }, () => Math.floor(Math.random() * 256))).toString('base64url');
}
