/**
 * Candidates without a network, as a process: `machinery.server.js <candidate>...`. Says when it is
 * ready; then runs blocks of requests and sends what each took, and records profiles.
 */
import type { RequestListener } from 'node:http';

import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { Recorder } from '../app/recorder.js';
import type { Candidate } from '../candidates.js';
import type { Workload } from '../workloads.js';
import { CannedClient } from './canned-client.js';
import { CANNED_DATABASE } from './canned-socket.js';
import type { Block, BlockFigures } from './blocks.js';
import { separateInstances } from './separate-instances.js';

type BenchApp = typeof import('../app/bench-app.js');

separateInstances();
const listeners: RequestListener[] = [];
for (const [index, candidate] of (process.argv.slice(2) as Candidate[]).entries()) {
  const { startBenchApp } = (await import(`../app/bench-app.js?instance=${index}`)) as BenchApp;
  const app = await startBenchApp(candidate, 'fastify', CANNED_DATABASE);
  const fastify = (app as unknown as NestFastifyApplication).getHttpAdapter().getInstance();
  listeners.push(fastify.routing.bind(fastify) as unknown as RequestListener);
}
const recorder = new Recorder();

process.on('message', (message: Block) => void run(message));
process.on('disconnect', () => process.exit(0));
process.send!({ ready: true });

async function run({ entrant, workload, requests, isRecorded }: Block): Promise<void> {
  const clients = Array.from(
    { length: workload.clients },
    () => new CannedClient(listeners[entrant]!, workload),
  );
  if (isRecorded) {
    await recorder.start();
  }
  // The garbage of the one before is not this one's.
  globalThis.gc!({ type: 'minor' });
  const figures = await timed(clients, requests);
  process.send!(isRecorded ? { ...figures, profile: await recorder.stop() } : figures);
}

async function timed(clients: readonly CannedClient[], requests: number): Promise<BlockFigures> {
  const each = Math.ceil(requests / clients.length);
  const startedMs = performance.now();
  const started = process.cpuUsage();
  await Promise.all(clients.map((client) => client.ask(each)));
  const { user, system } = process.cpuUsage(started);
  const asked = each * clients.length;
  return {
    cpuUs: (user + system) / asked,
    wallUs: ((performance.now() - startedMs) * 1_000) / asked,
  };
}
