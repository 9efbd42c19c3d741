'use strict';
// What the server holds in memory, where the system tells it.

const fs = require('node:fs');
const { status } = require('./processes');

const MIB = 1024;

/** Resident memory of a process in KiB; undefined where the system does not tell. */
function resident(pid) {
  return field(status(pid), 'VmRSS');
}

/**
 * The memory of a process in KiB: `resident` is all of it, with the pages of the program's file; `own` is that without
 * pages of files; `share` counts a page that several processes have to each in equal parts. Undefined where the system
 * does not tell.
 */
function memory(pid) {
  try {
    const rollup = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return { resident: resident(pid), own: field(status(pid), 'RssAnon'), share: field(rollup, 'Pss') };
  } catch {
    return undefined;
  }
}

function field(text, name) {
  const found = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text);
  return found ? Number(found[1]) : undefined;
}

module.exports = { MIB, memory, resident };
