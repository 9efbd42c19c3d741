'use strict';
// The server's processes, where the system tells of them: the parent that holds the address, and the worker that serves.

const fs = require('node:fs');

/** Whether its processes can be looked at: of Linux the suite knows where. */
const VISIBLE = fs.existsSync('/proc/self/task');

/** The children of a process, the oldest first. One that has ended and was not waited for is no child any more. */
function children(pid) {
  try {
    const threads = fs.readdirSync(`/proc/${pid}/task`);
    const lists = threads.map((thread) => fs.readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8'));
    return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number)).filter(lives);
  } catch {
    return [];
  }
}

/** Whether a process runs; one that has ended and was not waited for does not. */
function lives(pid) {
  const state = /State:\s+(\S)/.exec(status(pid))?.[1];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** What the system says of a process; nothing where there is none. */
function status(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

module.exports = { VISIBLE, children, lives, status };
