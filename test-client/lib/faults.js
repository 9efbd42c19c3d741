'use strict';
// The lab's faults, by the event that causes them.

const { pause } = require('./deadline');

/**
 * Faults while the connection lives. Each is fired with `fire(socket, data)` and settles with the answers that the
 * client was waiting for: `{ value }` or `{ error }`.
 */
const LIVE_FAULTS = [
  fault('panic_sync', 'an event handler, before its future exists'),
  fault('panic_async0', 'an event handler, before its first await'),
  fault('panic_async', 'an event handler, after its first await'),
  fault('panic_spawned', 'a task that a handler spawned'),
  fault('panic_extract', 'the extractor of an event'),
  fault('panic_ack', 'a handler that waits for the client to acknowledge'),
  fault('panic_drop', 'a Drop'),
  fault('panic_fallback', 'the fallback handler'),
  {
    name: 'panic_transport',
    place: "the engine's own reader",
    // With polling the reader is the request that brings the messages: it fails, and the client may close before it
    // could be told.
    mayBeUntold: ['polling'],
    // The arming itself is answered, and so may be what was read before it took hold.
    mayBeAnswered: true,
    async fire(socket, { ack }) {
      // Armed first. What the client sends after that is what the reader dies of, and it may share a packet with the
      // arming, so it is sent until the connection has gone.
      const armed = send(socket, 'panic_transport', ack);
      const baits = [];
      while (socket.connected && baits.length < 100) {
        baits.push(send(socket, 'echo', ack));
        await pause(20);
      }
      return Promise.all([armed, ...baits]);
    },
  },
];

/** Faults in the disconnect handler: armed while the connection lives, caused by its end. */
const DISCONNECT_FAULTS = [
  { name: 'arm_disconnect_panic', place: 'a disconnect handler, after its first await', panics: 1 },
  { name: 'arm_disconnect_panic_sync', place: 'a disconnect handler, before its future exists', panics: 1 },
  { name: 'arm_disconnect_hang', place: 'a disconnect handler that never ends', panics: 0 },
];

function fault(name, place) {
  return { name, place, mayBeUntold: [], mayBeAnswered: false, fire: (socket, { ack }) => Promise.all([send(socket, name, ack)]) };
}

/** Emits `event`; with `ack` its answer is awaited, for five seconds at most. */
function send(socket, event, ack) {
  const data = { from: 'offender' };
  if (!ack) {
    socket.emit(event, data);
    return undefined;
  }
  return socket.timeout(5000).emitWithAck(event, data).then((value) => ({ value }), (error) => ({ error }));
}

module.exports = { DISCONNECT_FAULTS, LIVE_FAULTS };
