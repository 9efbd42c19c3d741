'use strict';
// Faults in the disconnect handler: nobody is there to be told, and nothing may stay.

const { close } = require('../lib/client');
const { DISCONNECT_FAULTS } = require('../lib/faults');
const { stage } = require('../lib/stage');

const OFFENDERS = 5;
// A handler that hangs has the time that the server's deadline for disconnect handlers gives it.
const FORGOTTEN_MS = { arm_disconnect_hang: Number(process.env.WATERTIGHT_HANG_MS ?? 12_000) };

const ENDS = {
  'says goodbye': (socket) => socket.disconnect(),
  // The transport ends without a packet of Socket.IO.
  'is gone': (socket) => socket.io.engine.close(),
};

const set = stage({ name: 'faults-disconnect' });

for (const transport of ['websocket', 'polling', 'upgrade']) {
  for (const fault of DISCONNECT_FAULTS) {
    for (const [how, end] of Object.entries(ENDS)) {
      set.test(`${fault.name} over ${transport}: the client ${how}, and nothing is left`, async () => {
        const baseline = await set.observer.baseline();
        const rooms = Array.from({ length: OFFENDERS }, (_, number) => `${fault.name}-${transport}-${how}-${number}`);
        const sockets = await Promise.all(
          rooms.map(async (room) => {
            const socket = await set.connect(transport, { reconnection: false });
            await socket.timeout(3000).emitWithAck('join', room);
            await socket.timeout(3000).emitWithAck(fault.name);
            return socket;
          }),
        );

        sockets.forEach(end);
        await set.observer.backTo(baseline, { rooms, ms: FORGOTTEN_MS[fault.name] ?? 1000 });
        if (fault.panics > 0) await set.observer.panicsSince(baseline, OFFENDERS * fault.panics);
        close(...sockets);
      });
    }
  }
}
