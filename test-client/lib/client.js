'use strict';
// Official clients: opened, watched and closed.

const { io } = require('socket.io-client');
const { next } = require('./deadline');

/** The ways a client can be connected. `upgrade` starts with polling and moves on to a WebSocket. */
const TRANSPORTS = {
  websocket: ['websocket'],
  polling: ['polling'],
  upgrade: ['polling', 'websocket'],
};

const CONNECT_MS = 5000;

const open = new Set();

/** A client that begins to connect. It has a connection of its own and reconnects quickly. */
function dial(url, namespace, transport, options = {}) {
  const socket = io(`${url}${namespace}`, {
    transports: TRANSPORTS[transport],
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    randomizationFactor: 0,
    timeout: CONNECT_MS,
    ...options,
  });
  open.add(socket);
  return socket;
}

/** A client that is connected, and upgraded where its transport says so. */
async function connect(url, namespace, transport, options = {}) {
  const socket = dial(url, namespace, transport, options);
  await connected(socket);
  if (transport === 'upgrade') await upgraded(socket);
  return socket;
}

/** Waits until the client is connected; a refused connect is an error with the server's words. */
function connected(socket, ms = CONNECT_MS) {
  if (socket.connected) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      socket.off('connect', yes);
      socket.off('connect_error', no);
    };
    const yes = () => (stop(), resolve());
    const no = (error) => {
      // While `active`, the client will try again by itself.
      if (socket.active) return;
      stop();
      reject(error);
    };
    const timer = setTimeout(() => (stop(), reject(new Error(`not connected after ${ms} ms`))), ms);
    socket.on('connect', yes);
    socket.on('connect_error', no);
  });
}

/** Waits until the client has left polling behind. */
async function upgraded(socket, ms = CONNECT_MS) {
  const engine = socket.io.engine;
  if (engine.transport.name !== 'websocket') await next(engine, 'upgrade', ms);
}

/** Sends `data` to the server's echo and checks that the answer, by ack, is the same. */
async function echoes(socket, data, ms = 3000) {
  const answer = await socket.timeout(ms).emitWithAck('echo', data);
  if (JSON.stringify(answer) !== JSON.stringify(data)) {
    throw new Error(`echo of ${JSON.stringify(data)} answered ${JSON.stringify(answer)}`);
  }
}

/** Closes clients for good. */
function close(...sockets) {
  for (const socket of sockets) {
    socket.disconnect();
    open.delete(socket);
  }
}

/** The clients that are there now, of the server at `url` or of all. */
function opened(url) {
  return new Set([...open].filter((socket) => url === undefined || new URL(socket.io.uri).origin === url));
}

/** Closes every client that is still there, except those to keep. */
function closeAll(keep = new Set()) {
  close(...[...open].filter((socket) => !keep.has(socket)));
}

/** Another namespace on the connection of `socket`. It begins to connect at once: `connect()` would ask twice. */
function share(socket, namespace) {
  const other = socket.io.socket(namespace);
  open.add(other);
  return other;
}

module.exports = { CONNECT_MS, TRANSPORTS, close, closeAll, connect, connected, dial, echoes, opened, share, upgraded };
