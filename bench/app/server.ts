/**
 * One candidate as a server, in a process of its own: `server.js <candidate> <adapter> <url>`.
 * It sends its URL to its parent, and on request its CPU time, a count of promises or a profile.
 */
import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Adapter, Candidate } from '../candidates.js';
import { startBenchApp } from './bench-app.js';
import { Recorder } from './recorder.js';

const [candidate, adapter, databaseUrl] = process.argv.slice(2) as [Candidate, Adapter, string];
const BACKLOG = 4_096;

const app = await startBenchApp(candidate, adapter, { clientUrl: databaseUrl });
const listener = app.getHttpServer() as Server;
// Nest's own `listen()` takes no backlog, and a thousand clients connect at once.
listener.listen({ port: 0, host: '127.0.0.1', backlog: BACKLOG });
await once(listener, 'listening');
process.send!({ url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}` });

let promises = 0;
const counting = createHook({
  init: (_, type) => {
    promises += type === 'PROMISE' ? 1 : 0;
  },
});
const recorder = new Recorder();
process.on('message', (message) => {
  if (message === 'cpu-time') {
    const { user, system } = process.cpuUsage();
    process.send!({ cpuTimeUs: user + system });
  } else if (message === 'count-promises') {
    promises = 0;
    counting.enable();
    process.send!({ promises });
  } else if (message === 'promises') {
    counting.disable();
    process.send!({ promises });
  } else {
    void (message === 'start-profile' ? startProfile() : sendProfile());
  }
});
// This process ends with its parent, and its connections end with it.
process.on('disconnect', () => process.exit(0));

async function startProfile(): Promise<void> {
  await recorder.start();
  process.send!({ started: true });
}

async function sendProfile(): Promise<void> {
  process.send!({ profile: await recorder.stop() });
}
