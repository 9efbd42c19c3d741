'use strict';
// Waiting, always for something and never for ever.

const { performance } = require('node:perf_hooks');

/** What was awaited did not come in time. */
class DeadlineError extends Error {
  constructor(what, ms, detail) {
    super(`waited ${ms} ms for ${what}${detail ? `; ${detail}` : ''}`);
    this.name = 'DeadlineError';
  }
}

/** The result of `promise`, or a DeadlineError after `ms`. */
function within(ms, what, promise) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(what, ms)), ms);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

/**
 * The arguments of the next `event` of `emitter`, or a DeadlineError after `ms`. Works for any emitter with `on` and
 * `off`: the client's sockets are not Node's own.
 */
function next(emitter, event, ms, accept = () => true) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      emitter.off(event, listener);
    };
    const listener = (...args) => {
      if (!accept(...args)) return;
      stop();
      resolve(args);
    };
    const timer = setTimeout(() => {
      stop();
      reject(new DeadlineError(`the event ${event}`, ms));
    }, ms);
    emitter.on(event, listener);
  });
}

/**
 * Asks `probe` until it answers something true, and returns that. A probe that throws or rejects has answered no, and
 * its message is told if the deadline passes. `every` is the pause between two questions in milliseconds.
 */
async function until(ms, what, probe, every = 10) {
  const started = performance.now();
  let last = '';
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer;
    } catch (error) {
      last = error.message;
    }
    if (performance.now() - started >= ms) throw new DeadlineError(what, ms, last);
    await pause(every);
  }
}

/** Lets time pass between two questions or two messages of a load; never a way to wait for an effect. */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

module.exports = { DeadlineError, next, pause, until, within };
