'use strict';
// Operators on `/admin`, from this machine without a token: list, kick, mark, announce.

const assert = require('node:assert/strict');
const { close } = require('../lib/client');
const { next } = require('../lib/deadline');
const { Ears, ask, listed, operator, player } = require('../lib/game');
const { Offender } = require('../lib/offender');
const { stage } = require('../lib/stage');

const set = stage({ name: 'admin' });

for (const transport of ['websocket', 'polling']) {
  set.test(`over ${transport} an operator sees who is there`, async () => {
    const admin = await set.connect(transport, { reconnection: false }, '/admin');
    const guest = await set.connect(transport, { reconnection: false }, '/');
    await player.join(guest, 'hall', 'Ada');
    const list = await operator.list(admin);
    assert.equal(list.ok, true);
    assert.ok(JSON.stringify(list).includes(guest.id), 'the player is in the list');
    close(guest, admin);
  });

  set.test(`over ${transport} an operator kicks one player, and only that one`, async () => {
    const admin = await set.connect(transport, { reconnection: false }, '/admin');
    const [rude, kind] = await Promise.all([
      set.connect(transport, { reconnection: false }, '/'),
      set.connect(transport, { reconnection: false }, '/'),
    ]);
    await listed(admin, rude, kind);
    const gone = next(rude, 'disconnect', 3000);
    assert.equal((await operator.kick(admin, rude.id, 'rude')).ok, true);
    await gone;
    assert.ok(kind.connected);
    close(rude, kind, admin);
  });

  set.test(`over ${transport} an operator marks a socket as problematic, and it is disconnected`, async () => {
    const admin = await set.connect(transport, { reconnection: false }, '/admin');
    const marked = await set.connect(transport, {}, '/');
    const offender = new Offender(marked);
    await listed(admin, marked);
    const from = set.server.mark();
    assert.equal((await operator.mark(admin, offender.id, 'seen cheating')).ok, true);
    await offender.hears('disconnect');
    assert.equal(offender.incidents.length, 1, 'it was told');
    await set.server.line(`⚠️ Marking socket ${offender.id} as problematic for disconnection`, { from });
    await set.server.line(`🔌 Socket ${offender.id} marked for disconnection due to problematic behavior`, { from });
    await set.server.line(`🔌 Disconnecting problematic socket: ${offender.id}`, { from });
    await set.server.line(`✅ Successfully disconnected problematic socket: ${offender.id}`, { from });
    await offender.hears('connect');
    close(marked, admin);
  });

  set.test(`over ${transport} an operator speaks to all players`, async () => {
    const admin = await set.connect(transport, { reconnection: false }, '/admin');
    const guests = await Promise.all(['websocket', 'polling'].map((way) => set.connect(way, {}, '/')));
    const ears = guests.map((guest) => new Ears(guest));
    assert.equal((await operator.announce(admin, 'the bridge closes at nine')).ok, true);
    await Promise.all(ears.map((each) => each.hear('the bridge closes at nine')));
    close(...guests, admin);
  });

  set.test(`over ${transport} an operator's mistakes are refused`, async () => {
    const admin = await set.connect(transport, { reconnection: false }, '/admin');
    assert.equal((await operator.kick(admin, 'AAAAAAAAAAAAAAAA', 'nobody')).ok, false);
    assert.equal((await operator.mark(admin, 'not an id', '')).ok, false);
    assert.equal((await operator.announce(admin, '')).ok, false);
    assert.equal((await ask(admin, 'kick', null)).ok, false);
    assert.ok(admin.connected);
    close(admin);
  });
}
