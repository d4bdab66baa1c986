/**
 * Ten minutes of mixed load with random faults: `npm run soak [-- --minutes 10 --seed 1]`. It goes to two
 * applications over the same databases: HTTP/1 in plain text, and HTTP/2 with TLS on both sides. After
 * each round the load pauses: what was acknowledged must be there, nothing must be there by half,
 * and what is left in memory, in the pools and on the server is printed. Ends with 1 if anything
 * is amiss, or grows. The figures go to the file that `--json <file>` names, from where
 * `npm run figures` takes them.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { measurementNow } from '../../bench/report/measurement.js';
import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { encrypt } from '../support/encryption.js';
import { waitFor } from '../support/wait-for.js';
import { runLoad } from './load.js';
import { Random } from './random.js';
import { countSavedOfLeft, forget, reconcile } from './reconcile.js';
import { HEADER, line, list, Totals } from './report.js';
import { growthPerMinute, takeSample } from './sample.js';
import { startHttp1App, startHttp2App } from './soak-app.js';
import { createDatabases } from './soak-connection.js';
import type { Round, SoakFigures } from './table.js';
import { TroubleMaker } from './trouble.js';

const ROUND_MS = 30_000;
const QUIET_LIMIT_MS = 15_000;
/** Above the noise of a collector, below a leak of a few hundred bytes for each request. */
const FLAT_MB_PER_MINUTE = 0.5;

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' }, json: { type: 'string' } },
});
const minutes = Number(values.minutes ?? 10);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const measurement = measurementNow();
const unheard: unknown[] = [];

// Ctrl-C needs no care: the server ends when the pipe to this process breaks.
const postgres = startLocalPostgres(['postgres_of_soak']);
const serverUrl = (await postgres.urls).postgres_of_soak;
process.env['DB_CONTEXT_TEST_URL'] = serverUrl;
const databases = await createDatabases();
const apps = [
  await startHttp1App(databases),
  await startHttp2App(databases, await encrypt(serverUrl)),
];
// Not before: an error of the start is to end the script.
process.on('uncaughtException', (error) => unheard.push(error));
// Each application has faults and clients of its own, and as many of them as the other.
const parties = apps.map((app, index) => ({
  app,
  trouble: new TroubleMaker(app, new Random(seed + 2 * index)),
  random: new Random(seed + 2 * index + 1),
  totals: new Totals(),
}));
console.log(`${minutes} minutes, seed ${seed}\n\n${HEADER}`);

const rounds: Round[] = [];
const problems: string[] = [];
const startedAt = Date.now();
try {
  await runRounds();
} catch (error) {
  // This is an error of the script itself; the listener above would count it as one of the application.
  console.error(error);
  process.exit(2);
}

const closingAt = Date.now();
await Promise.all(apps.map((app) => app.close()));
const closedWithinMs = Date.now() - closingAt;
await Promise.all(databases.map(({ database }) => database.drop()));
const samples = rounds.map(({ sample }) => sample);
const growth = growthPerMinute(samples);
const leaks = samples.filter(
  (each) => each.checkedOut + each.waiting + each.openTransactions + each.openContexts > 0,
);
const isFlat = (growth ?? 0) < FLAT_MB_PER_MINUTE && leaks.length === 0;
const heap = growth === undefined ? 'too few rounds to say' : `${growth.toFixed(3)} MB per minute`;
for (const { app, totals, trouble } of parties) {
  console.log(`
${app.protocol}: ${totals.toString()}
  faults: ${list(Object.entries(trouble.counts))}
  errors that clients got: ${list([...totals.errors])}`);
}
console.log(`
heap over the second half: ${heap}; ${growth === undefined ? 'the counters' : 'counters and heap'} are ${isFlat ? 'flat' : 'NOT flat'}
errors that nobody heard: ${unheard.length}; closed within ${closedWithinMs} ms
rows amiss: ${problems.length}`);
[...problems, ...unheard].slice(0, 20).forEach((each) => console.log(each));
if (values.json !== undefined) {
  const figures: SoakFigures = {
    ...measurement,
    rounds,
    parties: parties.map(({ app, totals, trouble }) => ({
      protocol: app.protocol,
      ...totals.figures(),
      faults: Object.values(trouble.counts).reduce((sum, count) => sum + count, 0),
    })),
    heapMbPerMinute: growth,
    unheard: unheard.length,
    closedWithinMs,
  };
  writeFileSync(values.json, `${JSON.stringify(figures, undefined, 2)}\n`);
}
await postgres.stop();
process.exit(isFlat && problems.length === 0 && unheard.length === 0 ? 0 : 1);

async function runRounds(): Promise<void> {
  for (let round = 1; Date.now() - startedAt < minutes * 60_000; round++) {
    const endsAt = Math.min(Date.now() + ROUND_MS, startedAt + minutes * 60_000);
    const isOver = (): boolean => Date.now() >= endsAt;
    const logs = await Promise.all(
      parties.map(async ({ app, trouble, random }) => {
        const [log] = await Promise.all([runLoad(app, random, round, isOver), trouble.run(isOver)]);
        return log;
      }),
    );
    await untilQuiet();
    const found = await reconcile(databases, logs);
    for (const [index, { totals }] of parties.entries()) {
      totals.add(logs[index]!);
      totals.savedOfLeft += await countSavedOfLeft(databases, logs[index]!);
    }
    await forget(databases);
    problems.push(...found);
    // What the proxies have seen would be taken for a leak.
    apps.flatMap(({ connections }) => connections).forEach(({ proxy }) => proxy.reset());
    const row = line(logs, found.length);
    const requests = logs.reduce((sum, log) => sum + log.requests, 0);
    const overHttp2 = logs.find(({ protocol }) => protocol === 'HTTP/2')!.requests;
    logs.forEach((log) => {
      log.saved.clear();
      log.failed.clear();
      log.left.clear();
    });
    const sample = await takeSample(apps, startedAt);
    rounds.push({ sample, requests, overHttp2, amiss: found.length });
    console.log(row(sample));
  }
}

/** Nothing is under way any more; what still is after the limit shows in the sample. */
async function untilQuiet(): Promise<void> {
  const connections = apps.flatMap((app) => app.connections);
  const isQuiet = async (): Promise<boolean> => {
    const open = await Promise.all(
      connections.map((each) => each.backends('xact_start is not null')),
    );
    const pools = connections.map((each) => each.pool());
    return (
      apps.every((app) => app.openContexts() === 0) &&
      open.every((count) => count === 0) &&
      pools.every(({ checkedOut, waiting }) => checkedOut + waiting === 0)
    );
  };
  await waitFor(isQuiet, { what: 'quiet', timeoutMs: QUIET_LIMIT_MS }).catch(() => undefined);
}
