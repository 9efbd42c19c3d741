'use strict';

// Runs the end-to-end suite, or the files named on the command line: `node suite.js e2e/lab.test.js`.
// Files whose tests have bars on time get the machine to themselves; of the others three run at once, because most of what
// they do is wait.

const { spawnSync } = require('node:child_process');
const { readdirSync } = require('node:fs');
const path = require('node:path');

const MEASURES = /^(deaths\.|deaths-kept|latency|mass-panic|recovery-mode|stalls|storm|takeover)/;
const FOLDER = path.join(__dirname, 'e2e');

function everything() {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.test.js'));
  return files.sort().map((name) => path.join(FOLDER, name));
}

/** Answers whether all passed. */
function run(files, atOnce) {
  if (files.length === 0) return true;
  const options = [`--test-concurrency=${atOnce}`, '--test-timeout=300000', '--test-reporter=spec'];
  const { status, error } = spawnSync(process.execPath, ['--test', ...options, ...files], { stdio: 'inherit' });
  if (error) throw error;
  return status === 0;
}

const named = process.argv.slice(2);
const files = named.length > 0 ? named : everything();
const measures = (file) => MEASURES.test(path.basename(file));
const results = [run(files.filter((file) => !measures(file)), 3), run(files.filter(measures), 1)];
process.exitCode = results.every(Boolean) ? 0 : 1;
