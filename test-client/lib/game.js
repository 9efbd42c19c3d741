'use strict';
// What players and operators send: the one place that knows the shapes of their messages.

const { until } = require('./deadline');

const ACK_MS = 3000;

/** The messages of a player on `/`. Each answers `{ ok: true, … }` or `{ ok: false, error: { code, message, field? } }`. */
const player = {
  join: (socket, room, name) => ask(socket, 'join', { room, name }),
  leave: (socket, room) => ask(socket, 'leave', { room }),
  chat: (socket, room, text) => ask(socket, 'chat', { room, text }),
  move: (socket, room, x, y) => ask(socket, 'move', { room, x, y }),
  presence: (socket, room) => ask(socket, 'presence', { room }),
};

/** The messages of an operator on `/admin`, with the same answers. */
const operator = {
  list: (socket) => ask(socket, 'list', {}),
  kick: (socket, id, reason) => ask(socket, 'kick', { id, reason }),
  mark: (socket, id, reason) => ask(socket, 'mark', { id, reason }),
  announce: (socket, text) => ask(socket, 'announce', { text }),
};

/** Waits until the operator `admin` sees all of `sockets`: a client may know that it is connected a little earlier. */
function listed(admin, ...sockets) {
  return until(ACK_MS, 'the operator to see them all', async () => {
    const text = JSON.stringify(await operator.list(admin));
    return sockets.every(({ id }) => text.includes(id));
  });
}

function ask(socket, event, data) {
  return socket.timeout(ACK_MS).emitWithAck(event, data);
}

/** Records everything that a client hears, by whatever name. */
class Ears {
  constructor(socket) {
    this.heard = [];
    socket.onAny((event, ...data) => this.heard.push({ event, data, text: JSON.stringify(data) }));
  }

  /** Waits for an event that contains all of `words`. */
  hear(...words) {
    return until(ACK_MS, `to hear ${words.join(' and ')}`, () => this.among(words));
  }

  among(words) {
    return this.heard.find(({ event, text }) => words.every((word) => `${event} ${text}`.includes(word)));
  }
}

module.exports = { Ears, ask, listed, operator, player };
