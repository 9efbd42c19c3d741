'use strict';
// Deaths of the process that serves: caused, and found again wherever they must be told.

const assert = require('node:assert/strict');
const { close, connect } = require('./client');
const { until } = require('./deadline');
const { ask } = require('./game');
const { get } = require('./server');

const PARENT_TOLD = /💀 The server died: .* manner="/u;
const READY_MS = 10_000;

/** The lab's events that end the process, with the manner of the death and how sure its reason is. */
const DEATHS = [
  { event: 'abort', manner: 'crash', attribution: 'exact' },
  { event: 'overflow', manner: 'stack_overflow', attribution: 'exact' },
  { event: 'segv', manner: 'crash', attribution: 'exact' },
  { event: 'double_panic', manner: 'crash', attribution: 'exact' },
  { event: 'kill', manner: 'killed', attribution: 'suspect' },
];
/**
 * Memory runs out, where there is a limit. The thread that finds none first may be one of the server's own, which works
 * for nobody.
 */
const OOM = { event: 'oom', manner: 'crash', attribution: 'exact', mayBeNobodys: true };
/** Every thread is held; its parent ends it. */
const WEDGE = { event: 'wedge', manner: 'wedged', attribution: 'suspect' };

/** Has `socket` fire `event`, and waits until the process has died and another is ready. Answers what the parent said. */
async function die(server, socket, event, { data = {}, ms = READY_MS } = {}) {
  const from = server.mark();
  socket.emit(event, data);
  return died(server, from, ms);
}

/** Waits for the next death after the line `from`, and until another worker is ready. Answers what the parent said. */
async function died(server, from, ms = READY_MS) {
  const line = await server.line(PARENT_TOLD, { from, ms });
  await server.line(/the worker is ready .*after_death=Some/, { from: at(server, line), ms });
  return parentsWords(line);
}

function at(server, text) {
  return server.lines.findIndex((line) => line.text === text);
}

/** The fields of the parent's log line of a death. */
function parentsWords(line) {
  const field = (name) => new RegExp(` ${name}="?([^" ]*)"?`).exec(line)?.[1];
  return {
    line,
    incident: field('incident'),
    manner: field('manner'),
    attribution: field('attribution').toLowerCase(),
    socket: field('socket_id'),
  };
}

/** What operators are told by the new worker: the incident of a death, who is refused, and what is switched off. */
async function operators(url, incident) {
  const admin = await connect(url, '/admin', 'websocket', { reconnection: false });
  try {
    const of = async (event) => {
      const answer = await ask(admin, event, {});
      assert.equal(answer.ok, true, JSON.stringify(answer));
      return answer[event];
    };
    const found = (await of('incidents')).find(({ id }) => id === incident);
    return { incident: found, quarantined: await of('quarantined'), breakers: await of('breakers') };
  } finally {
    close(admin);
  }
}

/** How many deaths of each manner the workers have had, as the latest one counts them. */
async function counted(url) {
  const { body } = await get(`${url}/metrics`);
  const lines = body.matchAll(/^watertight_deaths_total\{manner="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, manner, count]) => [manner, Number(count)]));
}

/**
 * A death is told right everywhere: in the parent's line, to operators, and in the metrics. `id` is the socket of who
 * caused it and `event` with what. Answers what operators see.
 */
async function toldRight(server, words, { event, manner, attribution, mayBeNobodys = false }, id) {
  const { url } = server;
  assert.equal(words.manner, manner, words.line);
  const isNobodys = mayBeNobodys && words.attribution === 'unattributed';
  if (!isNobodys) assert.equal(words.attribution, attribution, words.line);
  const seen = await operators(url, words.incident);
  assert.ok(seen.incident, `operators do not see the incident ${words.incident}`);
  const { fault, death } = seen.incident;
  assert.equal(fault, 'abort');
  assert.equal(seen.incident.attribution, words.attribution);
  assert.equal(death.manner, manner);
  if (isNobodys) {
    assert.deepEqual(death.culprits, [], 'who it was');
  } else if (attribution === 'exact' || manner === 'wedged') {
    // Once, on however many threads it was at work. Nobody else holds one for long.
    assert.deepEqual(death.culprits.map((culprit) => culprit.id), [id], 'who it was');
    assert.equal(words.socket, id, words.line);
    assert.ok(words.line.includes(`at work on event /lab ${event} for ${id}`), words.line);
    assert.equal(seen.incident.offender.id, id);
    assert.deepEqual(seen.incident.activity, { kind: 'event', namespace: '/lab', name: event });
  } else {
    // Whoever else was at work in that instant is a suspect as well.
    const suspect = death.culprits.find((culprit) => culprit.id === id);
    assert.ok(suspect, `${id} is none of the suspects: ${JSON.stringify(death.culprits)}`);
    assert.deepEqual(suspect.activity, { kind: 'event', namespace: '/lab', name: event });
  }
  const told = server.lines.filter(({ text }) => PARENT_TOLD.test(text)).map(({ text }) => parentsWords(text).manner);
  assert.equal((await counted(url))[manner], told.filter((one) => one === manner).length, 'the deaths that the metrics count');
  return seen;
}

/** Waits until a worker serves that is not `old`. */
function replaced(server, old, ms = READY_MS) {
  return until(ms, `a worker in the place of ${old}`, () => {
    const now = server.worker();
    return now !== undefined && !server.workers().includes(old) && now;
  });
}

module.exports = { DEATHS, OOM, PARENT_TOLD, WEDGE, counted, die, died, operators, replaced, toldRight };
