'use strict';
// What the server holds in memory, where the system tells it.

const fs = require('node:fs');

const MIB = 1024;

/** Resident memory of a process in KiB; undefined where the system does not tell. */
function resident(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
  } catch {
    return undefined;
  }
}

module.exports = { MIB, resident };
