'use strict';
// Players on `/`: rooms, chat, moves, presence, and input that is refused instead of believed.

const assert = require('node:assert/strict');
const { close } = require('../lib/client');
const { Ears, ask, player } = require('../lib/game');
const { stage } = require('../lib/stage');

const set = stage({ name: 'players' });

async function guest(transport, room, name) {
  const socket = await set.connect(transport, { reconnection: false }, '/');
  const ears = new Ears(socket);
  if (room) good(await player.join(socket, room, name));
  return { socket, ears, name };
}

function good(answer) {
  assert.equal(answer?.ok, true, JSON.stringify(answer));
  return answer;
}

function bad(answer) {
  assert.equal(answer?.ok, false, JSON.stringify(answer));
  const { code, message } = answer.error ?? {};
  assert.match(code ?? '', /^[a-z_]+$/, 'it has a code for programs');
  assert.ok(message?.length > 0, 'it says what is wrong');
  return answer;
}

for (const transport of ['websocket', 'polling', 'upgrade']) {
  set.test(`players over ${transport} meet, talk, move and part`, async () => {
    const room = `tavern-${transport}`;
    const ada = await guest(transport, room, 'Ada');
    const bob = await guest(transport, room, 'Bob');
    const eve = await guest(transport, `cellar-${transport}`, 'Eve');

    const present = JSON.stringify(good(await player.presence(ada.socket, room)));
    assert.ok(present.includes('Ada') && present.includes('Bob'), present);
    assert.ok(!present.includes('Eve'), present);

    good(await player.chat(ada.socket, room, 'a round for everyone'));
    await bob.ears.hear('chat', 'a round for everyone');
    good(await player.move(bob.socket, room, 3, 4));
    await ada.ears.hear('move', '3', '4');

    good(await player.leave(bob.socket, room));
    await ada.ears.hear('presence', 'left', 'Bob');
    const left = JSON.stringify(good(await player.presence(ada.socket, room)));
    assert.ok(!left.includes('Bob'), left);
    assert.equal(eve.ears.among(['chat']), undefined, 'another room hears nothing');

    close(ada.socket, bob.socket, eve.socket);
  });

  set.test(`a player over ${transport} who goes without a word is no longer present`, async () => {
    const room = `harbour-${transport}`;
    const ada = await guest(transport, room, 'Ada');
    const bob = await guest(transport, room, 'Bob');
    bob.socket.io.engine.close();
    await ada.ears.hear('presence', 'left', 'Bob');
    const present = JSON.stringify(good(await player.presence(ada.socket, room)));
    assert.ok(!present.includes('Bob'), present);
    close(ada.socket, bob.socket);
  });

  set.test(`input over ${transport} that makes no sense is refused, and the player stays`, async () => {
    const room = `gate-${transport}`;
    const { socket } = await guest(transport, room, 'Ada');
    bad(await player.join(socket, '', 'Ada'));
    bad(await player.join(socket, 'x'.repeat(10_000), 'Ada'));
    bad(await player.chat(socket, room, ''));
    bad(await player.chat(socket, room, 'x'.repeat(50_000)));
    bad(await player.chat(socket, 'a-room-never-joined', 'hello'));
    bad(await player.move(socket, room, 'left', null));
    bad(await player.leave(socket, 'a-room-never-joined'));
    for (const nonsense of [null, 7, 'words', [], { room: 7 }, { room: { $ne: '' } }]) {
      bad(await ask(socket, 'chat', nonsense));
    }
    assert.ok(socket.connected);
    good(await player.chat(socket, room, 'still here'));
    close(socket);
  });
}
