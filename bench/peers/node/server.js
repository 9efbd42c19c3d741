'use strict';
// What the bench's servers do, on Node's own Socket.IO and with its defaults: echoes, and real faults by event name.
// Usage: node server.js [PORT]; it prints `listening on http://ADDRESS` when it listens.

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const BLOCK_MS = 3000;

const http = createServer();
const io = new Server(http);

io.on('connection', (socket) => {
  socket.on('echo', (data) => socket.emit('echo', data));

  socket.on('throw', () => {
    throw new Error('a handler throws');
  });
  socket.on('reject', async () => {
    await null;
    throw new Error('a promise of a handler is rejected');
  });
  socket.on('block', () => {
    const end = Date.now() + BLOCK_MS;
    while (Date.now() < end);
  });
  socket.on('abort', () => process.abort());
});

// The longest backlog that the system allows, as the servers beside it have: Node's default is 511.
const backlog = 4096;
http.listen({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog }, () => {
  const { address, port } = http.address();
  console.log(`listening on http://${address}:${port}`);
});
