/**
 * Measures how the library grows beside hand-written `em.transactional()`, and draws it: `npm run
 * bench:growth [-- --curves statements,flush --rounds 7 --batches 3 --points 1,100 --out folder]`; `--quick` only shows that all of it
 * runs. What one side goes into: `--profile flush [--at 10000 --side library --profile-file
 * x.cpuprofile]`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { Client } from 'pg';

import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { ACCOUNT_SCHEMA } from '../app/account.entity.js';
import type { Curve } from './curve.js';
import { readOptions } from './options.js';
import { profileGrowth } from './profile-growth.js';
import { farEndsLines } from './report/far-ends.js';
import { measureFigures, otherFigures, type CurveFigures } from './report/figures.js';
import { loadNow, thisMachine } from './report/machine.js';
import { writeFigures } from './report/write-figures.js';
import { measureBatches } from './run/measure-batches.js';
import { streamSchema } from './work/entities.js';

const options = readOptions();
const postgres = startLocalPostgres(['growth']);
try {
  const databaseUrl = (await postgres.urls).growth;
  await prepare(databaseUrl);
  if (options.profiled === undefined) {
    await measureAll(databaseUrl);
  } else {
    await profileGrowth(options.profiled, databaseUrl);
  }
} finally {
  await postgres.stop();
}

/** Makes the tables, with as many rows as the longest stream reads. */
async function prepare(databaseUrl: string): Promise<void> {
  const streamed = options.curves.find(({ name }) => name === 'stream');
  const points = streamed === undefined ? [0] : pointsOf(streamed);
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(ACCOUNT_SCHEMA);
  await client.query(streamSchema(Math.max(...points)));
  await client.end();
}

function pointsOf({ points, quickPoints }: Curve): readonly number[] {
  return options.points ?? (options.isQuick ? quickPoints : points);
}

async function measureAll(databaseUrl: string): Promise<void> {
  const thrownAway =
    options.out === undefined ? await mkdtemp(join(tmpdir(), 'growth-')) : undefined;
  const folder = options.out ?? pathToFileURL(`${thrownAway}/`);
  try {
    for (const curve of options.curves) {
      try {
        await measureAndWrite(curve, databaseUrl, folder);
      } catch (error) {
        // The other curves are measured all the same.
        console.error(`${curve.title}: FAILED`, error);
        process.exitCode = 1;
      }
    }
  } finally {
    if (thrownAway !== undefined) {
      await rm(thrownAway, { recursive: true });
    }
  }
}

async function measureAndWrite(curve: Curve, databaseUrl: string, folder: URL): Promise<void> {
  const startedMs = performance.now();
  const figures = await measure(curve, databaseUrl);
  await writeFigures(folder, figures);
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  console.log(`${curve.title} (${seconds} s)\n${farEndsLines(figures).join('\n')}`);
}

async function measure(curve: Curve, databaseUrl: string): Promise<CurveFigures> {
  const { isQuick, batches, blockMs, warmUpMs } = options;
  const rounds = Math.min(options.rounds, curve.rounds ?? options.rounds);
  const measuredAt = new Date().toISOString();
  const before = loadNow();
  const plan = { rounds, batches, blockMs, warmUpMs, points: pointsOf(curve) };
  const { series, promises } = await measureBatches(curve, databaseUrl, plan);
  return {
    curve: curve.name,
    title: curve.title,
    description: curve.description,
    x: curve.x,
    measuredAt,
    machine: thisMachine(),
    load: { before, after: loadNow() },
    rounds,
    isQuick,
    measures: curve.measures.map((each) => measureFigures(each, series)),
    others: otherFigures(curve, series),
    ...(promises === undefined ? {} : { promises }),
  };
}
