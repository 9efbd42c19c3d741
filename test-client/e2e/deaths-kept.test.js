'use strict';
// What is left of a death: a minidump for its owner, an incident for every later worker, and nothing in the parent.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, describe } = require('node:test');
const { until } = require('../lib/deadline');
const { operators, replaced } = require('../lib/deaths');
const { mourning } = require('../lib/mourning');
const { SUPERVISED } = require('../lib/server');

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'watertight-'));
const dumps = path.join(directory, 'dumps');
const config = path.join(directory, 'settings.toml');
after(() => fs.rmSync(directory, { recursive: true, force: true }));

/** The descriptors of the parent, by what they are. */
function descriptors(server) {
  const folder = `/proc/${server.child.pid}/fd`;
  return fs.readdirSync(folder).map((name) => fs.readlinkSync(path.join(folder, name)).replace(/\d+/g, 'N')).sort();
}

describe('supervised', { skip: !SUPERVISED }, () => {
  fs.writeFileSync(config, '');
  const set = mourning({
    name: 'deaths-kept',
    crowd: { count: 20 },
    args: ['--config', config],
    settings: {
      'supervisor.minidumps': dumps,
      'supervisor.journal': path.join(directory, 'journal'),
      'supervisor.restart_reset_ms': 100,
      'supervisor.restarts': 1000,
    },
  });
  const incidents = [];

  for (const event of ['segv', 'abort']) {
    set.test(`${event}: a minidump of the incident's name, which nobody else reads`, async () => {
      const culprit = await set.connect('websocket');
      const { incident } = await set.dies(culprit, event);
      incidents.push(incident);
      const dump = path.join(dumps, `${incident}.dmp`);
      assert.equal(fs.statSync(dump).mode & 0o777, 0o600);
      assert.equal(fs.statSync(dumps).mode & 0o777, 0o700);
      assert.equal(fs.readFileSync(dump).subarray(0, 4).toString(), 'MDMP');
      assert.deepEqual(fs.readdirSync(dumps).filter((name) => !/^\w{26}\.dmp$/.test(name)), [], 'nothing half written');
      const { incident: shown } = await operators(set.url, incident);
      assert.equal(shown.death.minidump, dump);
    });
  }

  set.test('kill: nobody could write one', async () => {
    const culprit = await set.connect('websocket');
    const { incident } = await set.dies(culprit, 'kill');
    incidents.push(incident);
    assert.ok(!fs.existsSync(path.join(dumps, `${incident}.dmp`)));
  });

  set.test('operators see every death, also after a takeover', async () => {
    const old = set.server.worker();
    const since = set.crowd.mark();
    // All of them are told of a shutdown.
    const end = set.crowd.forgive();
    set.server.signal('SIGHUP');
    await replaced(set.server, old);
    await set.crowd.back(since);
    end();
    for (const incident of incidents) {
      const { incident: shown } = await operators(set.url, incident);
      assert.equal(shown?.fault, 'abort', incident);
    }
  });

  set.test('a worker that cannot start is no death, and leaves nothing in the parent', async () => {
    const before = descriptors(set.server);
    const old = set.server.worker();
    fs.writeFileSync(config, 'nonsense = true');
    for (let round = 0; round < 3; round += 1) {
      const from = set.server.mark();
      set.server.signal('SIGHUP');
      await set.server.line('the old one goes on serving', { from, ms: 10_000 });
      const lines = set.server.lines.slice(from).map(({ text }) => text);
      assert.deepEqual(lines.filter((text) => text.includes('💀')), []);
    }
    assert.equal(set.server.worker(), old);
    await until(2000, 'the descriptors of the parent to be as before', () => {
      assert.deepEqual(descriptors(set.server), before);
      return true;
    });
    fs.writeFileSync(config, '');
  });
});
