#!/usr/bin/env node
'use strict';
// The long soak: `npm run soak -- MINUTES` (10 by default). Starts a server of its own, as the suite does.

const { startServer } = require('./lib/server');
const { soak } = require('./lib/soak');

const USAGE = 'usage: npm run soak -- [MINUTES]    (default 10)';

async function main([minutes = '10', ...rest]) {
  const seconds = Number(minutes) * 60;
  if (rest.length > 0 || !(seconds > 0)) {
    console.error(USAGE);
    return 2;
  }
  const server = await startServer({ name: 'soak', quarantine: true, breakers: true });
  console.log(`soaking ${server.url} for ${minutes} min; the server's log is ${server.log.path}`);
  const tell = ({ seconds: passed, clients, echoes }) => console.log(`${passed} s: ${clients} clients, ${echoes} echoes`);
  try {
    tell(await soak(server, { seconds, progress: tell }));
    console.log('✅ nobody was blamed for anything');
  } finally {
    await server.stop();
  }
  return 0;
}

// `exit`, because a socket that is still closing must not keep the script.
main(process.argv.slice(2)).then((code) => process.exit(code), (error) => {
  console.error(`❌ ${error.stack}`);
  process.exit(1);
});
