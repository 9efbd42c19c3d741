'use strict';
// What a broken or hostile client can do to any server, without the lab. Each way says how it ends: 'answers' or
// 'closed'. A connection that does neither is a deaf zombie, and that is an error.

const { DeadlineError, until } = require('./deadline');
const { RawPolling, RawWebSocket } = require('./raw');

const SETTLE_MS = 4000;
const NOBODY = '/are-you-there';

const GARBAGE = {
  'plain words': 'these are not a packet',
  'an unknown packet type': '9',
  'an empty message': '4',
  'an unknown Socket.IO type': '49["x"]',
  'text cut inside a character': Buffer.from([0x34, 0x32, 0x5b, 0x22, 0xe2, 0x82]),
  'characters of several bytes where numbers belong': '4€€€',
  'an event that ends too early': '42["chat"',
  'an event that is no array': '42{"chat":1}',
  'an event without a name': '42[]',
  'a number without an end': '42999999999999999999999["chat"]',
  'a namespace without an end': '42/lab',
  'broken JSON for the namespace': '40/,{"',
  'an upgrade that nobody asked for': '5',
  'a huge namespace': `40/${'n'.repeat(50_000)},`,
  'a huge number for an ack': '43' + '9'.repeat(5000) + '[]',
  'a negative ack': '43-1[]',
  'an ack that nobody awaits': '43123456["here"]',
  'numbers that no type holds': '42["chat",1e999999,-1e999999,123456789012345678901234567890]',
  'very deep JSON': '42["chat",' + '['.repeat(40_000) + ']'.repeat(40_000) + ']',
  'very deep JSON without an end': '42["chat",' + '{"a":'.repeat(15_000),
  'a placeholder without attachments': '42["chat",{"_placeholder":true,"num":0}]',
  'a placeholder of no number': '451-["chat",{"_placeholder":true,"num":-1}]',
  'an event name of zeros': '42["\\u0000\\u0000"]',
  'half of a surrogate pair': '42["\\ud83d"]',
  'an event of the server\'s own': '42["disconnect"]',
  'a disconnect of what was never joined': '41/never,',
  'a ping of the older protocol': '2probe',
  'an open packet': '0{}',
  'far too much': '42["' + 'x'.repeat(300_000) + '"]',
};

/** The founding panic: a ping frame of the WebSocket protocol. */
async function pingFrame(url) {
  const raw = await RawWebSocket.open(url);
  try {
    await raw.join('/');
    const first = await raw.ping();
    return first === 'closed' ? first : await settled(raw);
  } finally {
    raw.vanish();
  }
}

/** Garbage, each kind on a connection of its own, before and after a namespace was joined. */
async function garbage(url) {
  const ends = await Promise.all(
    Object.entries(GARBAGE).flatMap(([kind, data]) =>
      [false, true].map(async (joined) => {
        const raw = await RawWebSocket.open(url);
        try {
          if (joined) await raw.join('/');
          // A text frame, also where its bytes are not text.
          raw.ws.send(data, { binary: false }, () => {});
          return await settled(raw);
        } catch (error) {
          throw new Error(`${kind}: ${error.message}`);
        } finally {
          raw.vanish();
        }
      }),
    ),
  );
  return summary(ends);
}

/** Packets that announce binary attachments which never come, or come unannounced. */
async function attachments(url) {
  const ends = await Promise.all(
    [
      ['451-["photo",{"_placeholder":true,"num":0}]'],
      ['453-["photo",{"_placeholder":true,"num":0}]', Buffer.from('one of three'), '42["chat","in between"]'],
      ['45999999999-["photo"]'],
      [Buffer.from('nobody announced this')],
    ].map(async (frames) => {
      const raw = await RawWebSocket.open(url);
      try {
        await raw.join('/');
        frames.forEach((frame) => raw.send(frame));
        return await settled(raw);
      } finally {
        raw.vanish();
      }
    }),
  );
  return summary(ends);
}

/** Ends without a word in the middle of a conversation. */
async function abruptEnd(url) {
  const raw = await RawWebSocket.open(url);
  await raw.join('/');
  // Nothing that is wrong in itself: a server that counts nonsense has no reason to end it first.
  for (let count = 0; count < 50; count += 1) raw.send('42["presence",{"room":"nowhere"}]');
  raw.vanish();
  await raw.closed;
  return 'closed';
}

const POSTED = {
  'nothing at all': '',
  'only separators': '\u001e\u001e\u001e',
  'an empty packet between two': '2\u001e\u001e2',
  'a separator too much': '3\u001e',
  'an upgrade by post': '5',
  'a probe by post': '2probe',
  'base64 that is none': 'b%%%%',
  'base64 that nobody announced': 'bAAAA',
  'a length as the older protocol has it': '3:40x',
};

/** The same garbage and more in polling requests, each in a session of its own. */
async function posts(url) {
  const ends = await Promise.all(
    Object.entries({ ...GARBAGE, ...POSTED }).map(async ([kind, data]) => {
      const session = await RawPolling.open(url);
      await session.join('/');
      await session.post(data).catch(() => {});
      // Refused or not: it may be closed for it; what must not be is that it hangs.
      try {
        const asked = await session.post(`40${NOBODY},`);
        if (asked.status !== 200) return 'closed';
        const polled = await session.poll(SETTLE_MS);
        return polled.status === 200 ? 'answers' : 'closed';
      } catch (error) {
        throw new Error(`${kind}: ${error.message}`);
      } finally {
        await session.close();
      }
    }),
  );
  return summary(ends);
}

/** Whether the connection still answers or was closed: any server answers who asks for an unknown namespace. */
async function settled(raw) {
  raw.send(`40${NOBODY},`);
  const answered = (frame) => frame.startsWith(`44${NOBODY},`);
  try {
    return await until(SETTLE_MS, 'an answer or the end', () => {
      if (raw.gone) return 'closed';
      return raw.frames.some(answered) && 'answers';
    });
  } catch (error) {
    if (error instanceof DeadlineError) throw new Error('it neither answers nor was it closed: a deaf zombie');
    throw error;
  }
}

function summary(ends) {
  const closed = ends.filter((end) => end === 'closed').length;
  return `${ends.length} connections: ${closed} closed, ${ends.length - closed} still answer`;
}

module.exports = { MISBEHAVIOUR: { abruptEnd, attachments, garbage, pingFrame }, NOBODY, posts, settled };
