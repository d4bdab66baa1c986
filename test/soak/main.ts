/**
 * Ten minutes of mixed load with random faults: `npm run soak [-- --minutes 10 --seed 1]`. After
 * each round the load pauses: what was acknowledged must be there, nothing must be there by half,
 * and what is left in memory, in the pools and on the server is printed. Ends with 1 if anything
 * is amiss, or grows.
 */
import { parseArgs } from 'node:util';

import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { waitFor } from '../support/wait-for.js';
import { runLoad, type Log } from './load.js';
import { Random } from './random.js';
import { forget, reconcile } from './reconcile.js';
import { growthPerMinute, takeSample, type Sample } from './sample.js';
import { startSoakApp, type SoakApp } from './soak-app.js';
import { TroubleMaker } from './trouble.js';

const ROUND_MS = 30_000;
const QUIET_LIMIT_MS = 15_000;
/** Above the noise of a collector, below a leak of a few hundred bytes for each request. */
const FLAT_MB_PER_MINUTE = 0.5;

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' } },
});
const minutes = Number(values.minutes ?? 10);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const unheard: unknown[] = [];
process.on('uncaughtException', (error) => unheard.push(error));

// Ctrl-C needs no care: the server ends when the pipe to this process breaks.
const postgres = startLocalPostgres(['postgres_of_soak']);
process.env['DB_CONTEXT_TEST_URL'] = (await postgres.urls).postgres_of_soak;
const app = await startSoakApp();
const trouble = new TroubleMaker(app, new Random(seed));
const load = new Random(seed + 1);
console.log(`${minutes} minutes, seed ${seed}\n`);
console.log(
  '| minute | requests | acknowledged | failed | client left | hanging | heap MB | checked out | waiting | connections | open transactions | open contexts | amiss |',
);
console.log(`|${' ---: |'.repeat(13)}`);

const samples: Sample[] = [];
const problems: string[] = [];
const errors = new Map<string, number>();
let requests = 0;
const startedAt = Date.now();
try {
  await runRounds();
} catch (error) {
  // This is an error of the script itself; the listener above would count it as one of the application.
  console.error(error);
  process.exit(2);
}

const closingAt = Date.now();
await app.close();
const growth = growthPerMinute(samples);
const leaks = samples.filter(
  (each) => each.checkedOut + each.waiting + each.openTransactions + each.openContexts > 0,
);
const isFlat = growth < FLAT_MB_PER_MINUTE && leaks.length === 0;
console.log(`
requests: ${requests}; faults: ${list(Object.entries(trouble.counts))}
errors that clients got: ${list([...errors])}
heap over the second half: ${growth.toFixed(3)} MB per minute; counters and heap are ${isFlat ? 'flat' : 'NOT flat'}
errors that nobody heard: ${unheard.length}; closed within ${Date.now() - closingAt} ms
rows amiss: ${problems.length}`);
[...problems, ...unheard].slice(0, 20).forEach((each) => console.log(each));
await postgres.stop();
process.exit(isFlat && problems.length === 0 && unheard.length === 0 ? 0 : 1);

async function runRounds(): Promise<void> {
  for (let round = 1; Date.now() - startedAt < minutes * 60_000; round++) {
    const endsAt = Math.min(Date.now() + ROUND_MS, startedAt + minutes * 60_000);
    const isOver = (): boolean => Date.now() >= endsAt;
    const [log] = await Promise.all([runLoad(app.url, load, round, isOver), trouble.run(isOver)]);
    await untilQuiet(app);
    const found = await reconcile(app, log);
    await forget(app);
    problems.push(...found);
    requests += log.requests;
    for (const [name, count] of log.errors) {
      errors.set(name, (errors.get(name) ?? 0) + count);
    }
    // What the proxies have seen would be taken for a leak.
    app.connections.forEach(({ proxy }) => proxy.reset());
    const row = line(log, found.length);
    log.saved.clear();
    log.failed.clear();
    const sample = await takeSample(app, startedAt);
    samples.push(sample);
    console.log(row(sample));
  }
}

/** Nothing is under way any more; what still is after the limit shows in the sample. */
async function untilQuiet({ connections, openContexts }: SoakApp): Promise<void> {
  const isQuiet = async (): Promise<boolean> => {
    const open = await Promise.all(
      connections.map((each) => each.backends('xact_start is not null')),
    );
    const pools = connections.map((each) => each.pool());
    return (
      openContexts() === 0 &&
      open.every((count) => count === 0) &&
      pools.every(({ checkedOut, waiting }) => checkedOut + waiting === 0)
    );
  };
  await waitFor(isQuiet, { what: 'quiet', timeoutMs: QUIET_LIMIT_MS }).catch(() => undefined);
}

/** The row of a round, but for its sample, which must not see the log any more. */
function line(log: Log, amiss: number): (sample: Sample) => string {
  const failed = [...log.errors.values()].reduce((sum, count) => sum + count, 0);
  const answered = [log.requests, log.acknowledged, failed, log.disconnected, log.hanging];
  return (sample) => {
    const left = [
      sample.heapMb.toFixed(1),
      sample.checkedOut,
      sample.waiting,
      sample.serverConnections,
      sample.openTransactions,
      sample.openContexts,
      amiss,
    ];
    return `| ${[sample.minute.toFixed(1), ...answered, ...left].join(' | ')} |`;
  };
}

function list(counts: readonly (readonly [string, number])[]): string {
  return counts.map(([name, count]) => `${count} × ${name}`).join(', ');
}
