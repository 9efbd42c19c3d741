'use strict';
// Many who did nothing and lose their connection all the same, because the process dies that served them: they must be
// back soon, be refused nowhere, and go on as before.

const assert = require('node:assert/strict');
const { close, connect } = require('./client');
const { until } = require('./deadline');
const { metronome, now } = require('./metronome');

const COUNT = 200;
const BOTH = ['websocket', 'polling'];
// All are connected a few at a time: the connects are not what is tested.
const AT_ONCE = 25;
const EVERY_MS = 500;
const ECHO_MS = 5000;
const OWN_TRIES = 3;
// What a death may cost everybody else, beside what they need to come back to any server. The promise is 250 ms on a quiet
// machine, and BAR_MS=250 checks it; on one with other work both the server's start and the clients' take longer.
const BAR_MS = Number(process.env.BAR_MS ?? 1000);
// A client that comes back as soon as it may.
const EAGER = { reconnectionDelay: 10, reconnectionDelayMax: 50, randomizationFactor: 0.5 };

/** One of them. */
class Member {
  constructor(socket) {
    this.socket = socket;
    this.lostAt = -Infinity;
    this.backAt = now();
    this.echoes = 0;
    this.causes = [];
    this.problems = [];
    socket.on('echo', () => (this.echoes += 1));
    socket.on('connect', () => (this.backAt = now()));
    socket.on('connect_error', (error) => this.causes.push(cause(error)));
    socket.on('incident', (incident) => this.problems.push(`was told of ${JSON.stringify(incident)}`));
    socket.on('disconnect', (reason) => {
      this.lostAt = now();
      // Sent away by a packet: somebody has blamed it.
      if (reason === 'io server disconnect') this.problems.push(`was disconnected: ${reason}`);
    });
  }

  /** Where it is on its way, for people. */
  state(since) {
    const { socket, lostAt } = this;
    const { engine, _readyState: manager } = socket.io;
    const lost = lostAt > since ? 'lost' : 'never lost';
    return `${lost}, ${engine?.transport?.name} ${engine?.readyState}, ${manager}${socket.active ? '' : ', gave up'}`;
  }

  isBack(since) {
    return this.socket.connected && this.backAt > since && this.backAt > this.lostAt;
  }
}

/** Those who did nothing. */
class Crowd {
  /** Connects `count` clients, each to the next of `transports`, all from one address. */
  static async start(url, { count = COUNT, transports = BOTH } = {}) {
    const members = [];
    while (members.length < count) {
      const some = Array.from({ length: Math.min(AT_ONCE, count - members.length) }, async (_, offset) => {
        const transport = transports[(members.length + offset) % transports.length];
        return new Member(await connect(url, '/lab', transport, EAGER));
      });
      members.push(...(await Promise.all(some)));
    }
    const crowd = new Crowd(members);
    crowd.ownMs = await crowd.#own();
    return crowd;
  }

  constructor(members) {
    this.members = members;
    this.turn = 0;
    this.talk();
  }

  /** Has everybody speak now and then: a few at a time, so that somebody always does and nobody much. */
  talk() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.#speak(), EVERY_MS / 10).unref();
  }

  /** Nobody speaks until told to. */
  quiet() {
    clearInterval(this.timer);
  }

  #speak() {
    this.turn += 1;
    for (let number = this.turn % 10; number < this.members.length; number += 10) {
      const { socket } = this.members[number];
      // What is said meanwhile would be kept and said at once.
      if (socket.connected) socket.emit('echo', number);
    }
  }

  /** Forgets what went wrong so far, and answers the time. */
  mark() {
    for (const member of this.members) member.causes = [];
    return now();
  }

  /**
   * Waits until everybody has lost the connection and is back. Answers the times in milliseconds that it took them, the
   * shortest first, from `since` or the first loss after it. Milliseconds since 1970, as the server's.
   */
  async back(since, ms = 5000) {
    await until(ms, `all ${this.members.length} to be back`, () => {
      const away = this.members.filter((member) => !member.isBack(since));
      if (away.length === 0) return true;
      const states = tally(away.map((member) => member.state(since)));
      throw new Error(`${away.length} are not: ${JSON.stringify(states)}; they heard ${JSON.stringify(this.causes())}`);
    });
    const first = Math.min(...this.members.map(({ lostAt }) => lostAt).filter((lostAt) => lostAt > since));
    return this.members.map(({ backAt }) => backAt - first).sort((one, other) => one - other);
  }

  /**
   * Waits as `back` does. It may take `BAR_MS`, beside what they need to come back to any server and what the machine has
   * held everybody for. Says how long it took.
   */
  async backSoon(what, since) {
    const times = await this.back(since);
    const held = await metronome().heldMs(since);
    const own = this.ownMs;
    const last = times.at(-1);
    console.log(
      `${what}: ${times.length} back after ${summary(times)}; they need ${own.toFixed(0)} ms by themselves, ` +
        `and the machine held others for ${held.toFixed(0)} ms`,
    );
    const allowed = BAR_MS + own + held;
    assert.ok(last < allowed, `the last was back after ${last.toFixed(0)} ms; ${allowed.toFixed(0)} ms are allowed`);
  }

  /**
   * How long it takes everybody to come back to a server that has been there all the time, in milliseconds: they are in one
   * process, and it is a while until that has opened all their connections. The shortest of some tries.
   */
  async #own() {
    const tries = [];
    while (tries.length < OWN_TRIES) {
      const since = this.mark();
      for (const { socket } of this.members) socket.io.engine.close();
      tries.push((await this.back(since)).at(-1));
      // Those who were last are as ready as the others.
      await this.answered();
    }
    return Math.min(...tries);
  }

  /** Answers how to wait until everybody is back, and nobody is at work, when the process has died since the last time. */
  calm() {
    let since = -Infinity;
    return async () => {
      await this.back(since);
      // Who is connected may still be at work: the answer comes from its own handlers.
      await this.answered();
      since = now();
    };
  }

  /** How many connects failed, by the reason. */
  causes() {
    return tally(this.members.flatMap(({ causes }) => causes));
  }

  /** Records what comes as `event` from now on; answers who asks what that was. */
  listen(event) {
    const heard = [];
    for (const { socket } of this.members) socket.on(event, (...data) => heard.push(data));
    return () => heard;
  }

  /** Has nothing that they are told count until the answer is called: they are told of a shutdown, and sent away. */
  forgive() {
    return () => this.members.forEach((member) => (member.problems = []));
  }

  /** Everybody is answered, and nobody was told of anything or sent away. */
  async unharmed() {
    await this.answered();
    assert.deepEqual(this.members.flatMap(({ problems }) => problems), []);
  }

  /** Everybody is answered. */
  async answered() {
    const before = this.members.map(({ echoes }) => echoes);
    const answers = this.members.map(async ({ socket }, number) => {
      assert.equal(await socket.timeout(ECHO_MS).emitWithAck('echo', number), number, 'the answer to an echo');
    });
    await Promise.all(answers);
    const silent = this.members.filter(({ echoes }, number) => echoes <= before[number]);
    assert.equal(silent.length, 0, 'members without an echo');
  }

  stop() {
    this.quiet();
    close(...this.members.map(({ socket }) => socket));
  }
}

/** How often each word occurs. */
function tally(words) {
  const counts = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** Why a connect failed: the system's word for it, or the server's. */
function cause(error) {
  const inner = error.description?.error ?? error.context?.statusText ?? error;
  return inner.code ?? inner.message ?? `${error.message} ${error.description ?? ''}`;
}

/** The middle and the last of sorted times, for people. */
function summary(times) {
  const middle = times[Math.floor((times.length - 1) / 2)];
  return `p50 ${middle.toFixed(0)} ms, last ${times.at(-1).toFixed(0)} ms`;
}

module.exports = { BOTH, COUNT, Crowd, EAGER };
