'use strict';
// The logs of every run: what the server printed, and what the clients saw, side by side in test-client/logs.

const fs = require('node:fs');
const path = require('node:path');

const FOLDER = path.join(__dirname, '..', 'logs');
// A run of the suite writes about ninety; the oldest make room for the newest.
const KEPT = 400;

/** One log file; every line starts with the seconds since it was opened. */
class Log {
  constructor(name) {
    fs.mkdirSync(FOLDER, { recursive: true });
    prune();
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
    this.path = path.join(FOLDER, `${stamp}-${name}-${process.pid}.log`);
    this.started = Date.now();
    this.file = fs.openSync(this.path, 'a');
  }

  write(source, text) {
    if (this.file === undefined) return;
    const seconds = ((Date.now() - this.started) / 1000).toFixed(3).padStart(8);
    fs.writeSync(this.file, `${seconds} ${source.padEnd(7)} ${text}\n`);
  }

  close() {
    if (this.file !== undefined) fs.closeSync(this.file);
    this.file = undefined;
  }
}

function prune() {
  const files = fs.readdirSync(FOLDER).filter((name) => name.endsWith('.log')).sort();
  for (const name of files.slice(0, Math.max(0, files.length - KEPT))) {
    fs.rmSync(path.join(FOLDER, name), { force: true });
  }
}

module.exports = { Log };
