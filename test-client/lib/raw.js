'use strict';
// Clients that do what the official one never would: Engine.IO by hand, over a WebSocket and over polling.

const http = require('node:http');
const WebSocket = require('ws');
const { next, until, within } = require('./deadline');

const ENGINE = '/socket.io/?EIO=4';
const OPEN_MS = 3000;

/** An Engine.IO session over a WebSocket. `frames` holds every text frame that came; pings are answered. */
class RawWebSocket {
  static async open(url) {
    const ws = new WebSocket(`${url.replace(/^http/, 'ws')}${ENGINE}&transport=websocket`);
    const raw = new RawWebSocket(ws);
    await until(OPEN_MS, 'the open packet', () => raw.frames.length > 0 || raw.gone);
    if (!raw.frames[0]?.startsWith('0{')) throw new Error(`no open packet but ${raw.frames[0] ?? raw.error}`);
    return raw;
  }

  constructor(ws) {
    this.ws = ws;
    this.frames = [];
    this.closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.closed.then((closed) => (this.gone = closed));
    // A reset is an end like any other; `close` follows.
    ws.on('error', (error) => (this.error = error.message));
    ws.on('message', (data, binary) => {
      const text = binary ? '' : data.toString();
      this.frames.push(text);
      if (text === '2') ws.send('3');
    });
  }

  /** Connects to a namespace. */
  async join(namespace) {
    const prefix = namespace === '/' ? '40' : `40${namespace},`;
    this.send(prefix);
    await this.frame((frame) => frame.startsWith(`${prefix}{`), `the connect packet of ${namespace}`);
  }

  /** Waits for a frame that `accept` accepts, among those that came and those to come. */
  frame(accept, what, ms = OPEN_MS) {
    return until(ms, what, () => {
      const found = this.frames.find(accept);
      if (found === undefined && this.gone) throw new Error(`closed with ${JSON.stringify(this.gone)}`);
      return found;
    });
  }

  send(data) {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(data, () => {});
  }

  /** A ping frame of the WebSocket protocol itself: what the founding panic died of. Answers 'pong' or 'closed'. */
  async ping(ms = 2000) {
    const pong = next(this.ws, 'pong', ms).then(() => 'pong');
    this.ws.ping();
    return Promise.race([pong, this.closed.then(() => 'closed')]).finally(() => pong.catch(() => {}));
  }

  /** Stops reading: what the server sends stays in the kernel, and then in the server. */
  deafen() {
    this.ws._socket.pause();
  }

  /** Everything sent has left this process. */
  flushed(ms) {
    return until(ms, 'the frames to leave', () => this.ws.bufferedAmount === 0 && this.ws._socket.writableLength === 0);
  }

  /** Ends without a word, as a lost network does. */
  vanish() {
    this.ws.terminate();
  }
}

/** An Engine.IO session over polling, in which nothing is fetched unless asked for. */
class RawPolling {
  static async open(url) {
    const { body } = await request(`${url}${ENGINE}&transport=polling`, 'GET');
    const { sid } = JSON.parse(body.slice(1));
    return new RawPolling(`${url}${ENGINE}&transport=polling&sid=${sid}`);
  }

  constructor(url) {
    this.url = url;
  }

  async join(namespace) {
    await this.post(namespace === '/' ? '40' : `40${namespace},`);
    await until(OPEN_MS, `the connect packet of ${namespace}`, async () => {
      const { body } = await this.poll();
      // A ping may be first.
      if (body === '2') await this.post('3');
      else if (!body.includes('{"sid"')) throw new Error(`no connect packet but ${body}`);
      return body !== '2';
    });
  }

  /** Ends the session, if it is still there. */
  async close() {
    await this.post('1').catch(() => {});
  }

  post(...packets) {
    return request(this.url, 'POST', packets.join('\u001e'));
  }

  poll(ms = 3000) {
    return within(ms, 'the answer to a poll', request(this.url, 'GET'));
  }
}

/** A request on a connection of its own. */
function request(url, method, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'text/plain;charset=UTF-8' };
    const message = http.request(url, { method, agent: false, headers, timeout: 5000 }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() }));
      response.on('error', reject);
    });
    message.on('timeout', () => message.destroy(new Error('the request took too long')));
    message.on('error', reject);
    message.end(body);
  });
}

module.exports = { ENGINE, RawPolling, RawWebSocket, request };
