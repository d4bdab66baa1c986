import { Client } from 'pg';

import { startLocalPostgres } from '../starter/local-postgres.js';
import type { DatabaseUrls } from './app.module.js';
import { compareWays } from './compare/compare.js';
import { report } from './compare/report.js';
import { countTrips } from './compare/trips.js';
import {
  cleaningWay,
  emptyByDelete,
  emptyByTruncate,
  sharedWay,
  unwrappedWay,
  type Way,
  type WayOptions,
} from './compare/ways.js';

/** How often each test runs in each way; `npm run sample:testing -- 5` takes another number. */
const ROUNDS = Number(process.argv[2] ?? 12);

/** Number of tables, those of the audit included. */
const SIZES = [31, 100] as const;
const KINDS = ['unwrapped', 'shared', 'truncate', 'delete', 'count', 'count_unwrapped'] as const;
const DATABASES = SIZES.flatMap((size) =>
  KINDS.flatMap((kind) => [`${kind}_${size}_shop`, `${kind}_${size}_audit`]),
);

console.log('Starting a PostgreSQL for this sample ...');
// Ctrl-C needs no care: the server ends when the pipe to this process breaks.
const postgres = startLocalPostgres(DATABASES);
const ways: Way[] = [];
try {
  const urls: Readonly<Record<string, string>> = await postgres.urls;
  const optionsOf = (kind: (typeof KINDS)[number], tables: number): WayOptions => {
    const of: DatabaseUrls = {
      shopUrl: urls[`${kind}_${tables}_shop`]!,
      auditUrl: urls[`${kind}_${tables}_audit`]!,
    };
    return { urls: of, tables };
  };
  for (const size of SIZES) {
    ways.push(
      await unwrappedWay(optionsOf('unwrapped', size)),
      await sharedWay(optionsOf('shared', size)),
      await cleaningWay('TRUNCATE of all tables', emptyByTruncate, optionsOf('truncate', size)),
      await cleaningWay('DELETE from each by name', emptyByDelete, optionsOf('delete', size)),
    );
  }
  console.log(await describeServer(urls['shared_31_shop']!));
  const figures = await compareWays(ways, { rounds: ROUNDS, warmUpRounds: 2 });
  for (const [index, size] of SIZES.entries()) {
    console.log(report(size, figures.slice(index * 4, index * 4 + 4)));
  }
  const { begin, request, requestInProduction, end } = await countTrips(
    optionsOf('count', SIZES[0]),
    optionsOf('count_unwrapped', SIZES[0]),
  );
  console.log(
    `round trips, counted at the wire, two databases: begin ${begin}, end ${end}; a POST that writes ` +
      `to both ${request}, in production ${requestInProduction}`,
  );
} finally {
  for (const way of ways) {
    await way.close();
  }
  await postgres.stop();
}

async function describeServer(url: string): Promise<string> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const names = ['server_version', 'fsync', 'synchronous_commit', 'full_page_writes'];
  const settings: string[] = [];
  for (const name of names) {
    const { rows } = await client.query<{ value: string }>('select current_setting($1) as value', [
      name,
    ]);
    settings.push(`${name}=${rows[0]!.value}`);
  }
  await client.end();
  return settings.join(', ');
}
