'use strict';
// Connections and requests all the time, to count those that a server refuses or loses.

const assert = require('node:assert/strict');
const http = require('node:http');
const net = require('node:net');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { within } = require('./deadline');

const ANSWER_MS = 10_000;

/** Opens a TCP connection every few milliseconds and asks for `/health` on it. */
class Knocks {
  constructor(url, everyMs = 5) {
    const { hostname, port } = new URL(url);
    this.address = { host: hostname, port: Number(port) };
    this.opened = 0;
    this.answered = 0;
    /** Why connections did not come about: none of these is the death of who has accepted them. */
    this.refused = [];
    this.waiting = new Set();
    // A test that fails does not stop it.
    this.timer = setInterval(() => this.#knock(), everyMs).unref();
  }

  #knock() {
    const socket = net.connect(this.address);
    let answer = '';
    let isOpen = false;
    const ended = new Promise((resolve) => socket.once('close', resolve)).then(() => this.waiting.delete(ended));
    this.waiting.add(ended);
    socket.on('connect', () => {
      isOpen = true;
      this.opened += 1;
      socket.write('GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (data) => (answer += data));
    socket.on('end', () => {
      if (answer.startsWith('HTTP/1.1 200')) this.answered += 1;
    });
    socket.on('error', (error) => {
      if (!isOpen) this.refused.push(error.code);
    });
  }

  /** Ends it, waits for the answers, and checks that nobody was refused. */
  async stop() {
    clearInterval(this.timer);
    await within(ANSWER_MS, 'the last connections to be answered', Promise.all(this.waiting));
    assert.ok(this.opened > 0, 'no connection was opened');
    assert.deepEqual(this.refused, [], 'connections that were refused');
    return { opened: this.opened, answered: this.answered };
  }
}

/**
 * Asks for `/health` again and again, the next time as soon as it is answered, `lanes` at a time: on a thread of its own,
 * so that the clients of the test do not slow it down.
 */
class Requests {
  constructor(url, { lanes = 4, keepAlive = false } = {}) {
    this.thread = new Worker(__filename, { workerData: { url: `${url}/health`, lanes, keepAlive } });
    this.result = new Promise((resolve, reject) => {
      this.thread.once('message', resolve);
      this.thread.once('error', reject);
    });
    this.result.catch(() => {});
    // A test that fails does not stop it.
    this.thread.unref();
  }

  /** Ends it and checks that every request was answered with 200. Answers how many. */
  async stop() {
    this.thread.postMessage('stop');
    const { answered, problems } = await within(ANSWER_MS + 1000, 'the last requests to be answered', this.result);
    assert.ok(answered > 0, 'nothing was asked');
    assert.deepEqual(problems, [], `requests that were lost, beside ${answered}`);
    return answered;
  }
}

/** What the thread does: asks until it is told to stop, and tells how it was answered. */
async function askAll({ url, lanes, keepAlive }) {
  const result = { answered: 0, problems: [] };
  let isOver = false;
  parentPort.once('message', () => (isOver = true));
  const ask = async (agent) => {
    while (!isOver) {
      try {
        const status = await answerTo(url, agent);
        if (status === 200) result.answered += 1;
        else result.problems.push(`status ${status}`);
      } catch (error) {
        result.problems.push(error.code ?? error.message);
      }
    }
    if (agent) agent.destroy();
  };
  const agents = Array.from({ length: lanes }, () => (keepAlive ? new http.Agent({ keepAlive, maxSockets: 1 }) : false));
  await Promise.all(agents.map(ask));
  parentPort.postMessage(result);
}

function answerTo(url, agent) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent, timeout: ANSWER_MS }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
  });
}

if (!isMainThread && workerData?.url) askAll(workerData);

module.exports = { Knocks, Requests };
