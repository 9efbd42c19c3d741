'use strict';
// The real server on a free port, as a child process: a small parent that holds the address, and its worker, which serves.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { createInterface } = require('node:readline');
const { until, within } = require('./deadline');
const { Log } = require('./logs');
const { VISIBLE, children, lives } = require('./processes');

const ROOT = path.join(__dirname, '..', '..');
const START_MS = 20_000;
// The server's own bound for a drain is shorter.
const STOP_MS = 15_000;

/** Whether servers run as a parent and its worker, unless a test says otherwise. */
const SUPERVISED = process.platform !== 'win32' && process.env.WATERTIGHT_SUITE_SUPERVISE !== 'off';

const running = new Set();
// A test file that ends early must not leave servers behind. Workers whose parent is gone end by themselves.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** The server to test: WATERTIGHT_SERVER, else the release build, else the debug build. */
function binary() {
  const name = `game-admin-backend${process.platform === 'win32' ? '.exe' : ''}`;
  const candidates = process.env.WATERTIGHT_SERVER
    ? [path.resolve(process.env.WATERTIGHT_SERVER)]
    : ['release', 'debug'].map((profile) => path.join(ROOT, 'target', profile, name));
  const found = candidates.find((candidate) => fs.existsSync(candidate));
  assert.ok(found, `no server at ${candidates.join(' nor ')}: run \`cargo build --release\` first`);
  return found;
}

/** A running server. Emits `line` for every line that it prints. */
class Server extends EventEmitter {
  constructor(child, log, supervised) {
    super();
    this.setMaxListeners(0);
    this.child = child;
    this.log = log;
    this.supervised = supervised;
    this.lines = [];
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        running.delete(child);
        log.write('exit', `code ${code}, signal ${signal}`);
        resolve({ code, signal });
      });
    });
    this.#read('stdout');
    this.#read('stderr');
  }

  #read(stream) {
    createInterface({ input: this.child[stream] }).on('line', (raw) => {
      // eslint-disable-next-line no-control-regex
      const text = raw.replace(/\u001b\[[0-9;]*m/g, '');
      const line = { stream, text };
      this.lines.push(line);
      this.log.write(stream, text);
      this.emit('line', line);
    });
  }

  get alive() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /**
   * The processes that serve or are about to, the oldest first: two while one takes over from the other, none between a
   * death and the next start. Where the system does not tell there are none, either.
   */
  workers() {
    if (this.supervised) return children(this.child.pid);
    return this.alive ? [this.child.pid] : [];
  }

  /** The process that serves; after a death it is another. Undefined where there is none. */
  worker() {
    return this.workers().at(-1);
  }

  /** How many file descriptors the process that serves holds; undefined where the system does not tell. */
  descriptors() {
    try {
      return fs.readdirSync(`/proc/${this.worker()}/fd`).length;
    } catch {
      return undefined;
    }
  }

  /** Where the log is now, to look only at what comes later. */
  mark() {
    return this.lines.length;
  }

  /** The first line from `mark` on that matches, waiting for it until the deadline. */
  async line(pattern, { from = 0, ms = 3000 } = {}) {
    const matches = (text) => (typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text));
    return until(ms, `the server to log ${pattern}`, () => {
      const found = this.lines.slice(from).find((line) => matches(line.text));
      return found?.text;
    });
  }

  signal(name) {
    this.log.write('signal', name);
    this.child.kill(name);
  }

  /** Ends the server politely and returns its exit code; kills it and fails when it takes too long. */
  async stop(signal = 'SIGTERM') {
    const workers = this.workers();
    try {
      if (this.alive) this.signal(signal);
      const { code } = await within(STOP_MS, `the server to end after ${signal}`, this.exited);
      if (VISIBLE) assert.deepEqual(workers.filter(lives), [], 'processes that outlive their parent');
      return code;
    } finally {
      if (this.alive) this.child.kill('SIGKILL');
      this.log.close();
    }
  }
}

// All clients of the suite share an address and cause the same faults over and over.
const LENIENT = { quarantine: false, breakers: false };

/** The flags for what is held against clients and events. */
function discipline(options) {
  return Object.entries({ ...LENIENT, ...options })
    .filter(([name, on]) => name in LENIENT && on !== undefined)
    .flatMap(([name, on]) => [`--${name}`, on ? 'on' : 'off']);
}

/** The flag for a server that is one process, where it is. */
function alone(supervise = SUPERVISED) {
  return supervise ? [] : ['--no-supervise'];
}

/** The program and its arguments, started by a shell that sets a limit of its addresses first. */
function limited(program, flags, kib) {
  if (kib === undefined) return [program, flags];
  return ['sh', ['-c', `ulimit -v ${kib} && exec "$@"`, 'sh', program, ...flags]];
}

/** The environment without what is meant for this suite and not for the program. */
function environment() {
  const { WATERTIGHT_SERVER: _program, WATERTIGHT_SUITE_SUPERVISE: _supervise, ...rest } = process.env;
  return rest;
}

/**
 * Starts a server and returns when it listens.
 * @param {object} options `name` of its log; `lab`: whether it offers its real faults; `quarantine` and `breakers`:
 *   whether faults are held against who causes them and where they happen, or left to the server's defaults when
 *   undefined; `supervise`: whether a parent starts it again when it dies; `addressLimitKib`: how much memory each of
 *   its processes may address; `settings`: `section.key` to value; `args`: more flags.
 */
async function startServer(options = {}) {
  const { name = 'server', lab = true, supervise = SUPERVISED, addressLimitKib, settings = {}, args = [], env = {} } = options;
  const flags = ['--port', '0', ...(lab ? ['--lab'] : []), ...discipline(options), ...alone(supervise), ...args];
  for (const [key, value] of Object.entries(settings)) flags.push('--set', `${key}=${value}`);
  const program = binary();
  const log = new Log(name);
  log.write('start', [path.basename(program), ...flags].join(' '));
  const child = spawn(...limited(program, flags, addressLimitKib), {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A storm of panics must be survived with backtraces asked for: that is when they cost most.
    env: { ...environment(), RUST_BACKTRACE: '1', ...env },
  });
  running.add(child);
  child.on('error', (error) => log.write('error', error.message));
  const server = new Server(child, log, supervise);
  const announced = until(START_MS, 'the server to say where it listens', () => {
    const line = server.lines.find(({ stream, text }) => stream === 'stdout' && text.includes('listening on http://'));
    return line && /listening on (http:\/\/\S+)/.exec(line.text)[1];
  });
  const died = server.exited.then(({ code, signal }) => {
    const tail = server.lines.slice(-10).map(({ text }) => text).join('\n');
    throw new Error(`the server ended before it listened (code ${code}, signal ${signal}):\n${tail}`);
  });
  server.url = (await Promise.race([announced, died])).replace(/\/$/, '');
  died.catch(() => {});
  return server;
}

/** The body and status of a GET. On a connection of its own, which closes with the answer. */
function get(url, ms = 2000, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false, headers, timeout: ms }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() }));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error(`GET ${url} took longer than ${ms} ms`)));
    request.on('error', reject);
  });
}

module.exports = { ROOT, SUPERVISED, Server, alone, binary, discipline, environment, get, startServer };
