'use strict';
// test-panic-recovery.js itself: against a server with and without the lab, and against none.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { within } = require('../lib/deadline');
const { startServer } = require('../lib/server');

const SCRIPT = path.join(__dirname, '..', 'test-panic-recovery.js');

/** Runs the script to its end. */
async function run(...args) {
  const child = spawn(process.execPath, [SCRIPT, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const ended = new Promise((resolve) => child.once('close', resolve));
  try {
    const code = await within(90_000, 'the script to end', ended);
    return { code, output };
  } finally {
    child.kill('SIGKILL');
  }
}

for (const lab of [true, false]) {
  test(`it passes against a server ${lab ? 'with' : 'without'} the lab`, async () => {
    const server = await startServer({ name: `script-${lab ? 'lab' : 'plain'}`, lab });
    try {
      const { code, output } = await run(server.url);
      assert.equal(code, 0, output);
      assert.match(output, /✅ 4 of 4 tests passed/);
      assert.doesNotMatch(output, /❌/);
      assert.match(output, lab ? /real panics are used/ : /offers no lab/);
    } finally {
      assert.equal(await server.stop(), 0);
    }
  });
}

test('it fails, and says what to do, when no server is there', async () => {
  const server = await startServer({ name: 'script-none' });
  await server.stop();
  const { code, output } = await run(server.url);
  assert.equal(code, 1);
  assert.match(output, /❌ No server answers at http/);
  assert.match(output, /cargo run --release/);
});

test('it refuses an address that is none', async () => {
  const { code, output } = await run('localhost:3002');
  assert.equal(code, 2);
  assert.match(output, /usage:/);
});
