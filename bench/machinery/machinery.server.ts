/**
 * Candidates without a network, as a process: `machinery.server.js <way> <candidate>...`. It sends a
 * message when it is ready; then it runs blocks of requests, sends the time that each took, and records
 * profiles.
 */
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { Recorder } from '../app/recorder.js';
import type { Candidate } from '../candidates.js';
import { askInTurn, openByInject, openDirectly, type Exchange } from './canned-client.js';
import { CANNED_DATABASE } from './canned-socket.js';
import type { Block, BlockFigures, Way } from './blocks.js';
import { separateInstances } from './separate-instances.js';

type BenchApp = typeof import('../app/bench-app.js');

separateInstances();
const [way, ...candidates] = process.argv.slice(2) as [Way, ...Candidate[]];
const open = way === 'inject' ? openByInject : openDirectly;
const opened: (() => Exchange)[] = [];
for (const [index, candidate] of candidates.entries()) {
  const { startBenchApp } = (await import(`../app/bench-app.js?instance=${index}`)) as BenchApp;
  const app = await startBenchApp(candidate, 'fastify', CANNED_DATABASE);
  const fastify = (app as unknown as NestFastifyApplication).getHttpAdapter().getInstance();
  opened.push(() => open(fastify));
}
const recorder = new Recorder();

process.on('message', (message: Block) => void run(message));
process.on('disconnect', () => process.exit(0));
process.send!({ ready: true });

async function run({ entrant, workload, requests, isRecorded }: Block): Promise<void> {
  const clients = Array.from({ length: workload.clients }, () => opened[entrant]!());
  if (isRecorded) {
    await recorder.start();
  }
  const each = Math.ceil(requests / clients.length);
  const asked = each * clients.length;
  const startedMs = performance.now();
  const started = process.cpuUsage();
  await Promise.all(clients.map((client) => askInTurn(client, workload, each)));
  const { user, system } = process.cpuUsage(started);
  const figures: BlockFigures = {
    cpuUs: (user + system) / asked,
    wallUs: ((performance.now() - startedMs) * 1_000) / asked,
  };
  process.send!(isRecorded ? { ...figures, profile: await recorder.stop() } : figures);
}
