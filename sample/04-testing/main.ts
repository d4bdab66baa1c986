import { Client } from 'pg';

import { startLocalPostgres } from '../starter/local-postgres.js';
import { BODIES } from './compare/bodies.js';
import { compareWays, quantile, type Figures } from './compare/compare.js';
import { SHOP_TABLES } from './compare/schema.js';
import { cleaningWay, sharedWay, type Way } from './compare/ways.js';

const ROUNDS = 25;

const DATABASES = [
  'shared_shop',
  'shared_audit',
  'truncate_shop',
  'truncate_audit',
  'delete_shop',
  'delete_audit',
] as const;

console.log('Starting a PostgreSQL for this sample ...');
// Ctrl-C needs no care: the server ends when the pipe to this process breaks.
const postgres = startLocalPostgres(DATABASES);
const ways: Way[] = [];
try {
  const urls = await postgres.urls;
  ways.push(
    await sharedWay({ shopUrl: urls.shared_shop, auditUrl: urls.shared_audit }),
    await cleaningWay('TRUNCATE of all tables, fixtures', (all) => `truncate ${all.join(', ')}`, {
      shopUrl: urls.truncate_shop,
      auditUrl: urls.truncate_audit,
    }),
    await cleaningWay(
      'DELETE from each table, fixtures',
      (all) =>
        all
          .toReversed()
          .map((table) => `delete from ${table}`)
          .join('; '),
      { shopUrl: urls.delete_shop, auditUrl: urls.delete_audit },
    ),
  );
  console.log(await describeServer(urls.shared_shop));
  const figures = await compareWays(ways, { rounds: ROUNDS, warmUpRounds: 5 });
  console.log(report(figures));
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
  return `${settings.join(', ')}; ${SHOP_TABLES.length} tables in the shop, 1 in the audit`;
}

function report(all: readonly Figures[]): string {
  const [shared, ...others] = all as [Figures, ...Figures[]];
  return [
    `${shared.totalMs.length} tests in each way (${BODIES.length} tests, ${ROUNDS} rounds), by turns:`,
    '',
    `${' '.repeat(36)}   median    10 %      90 %    around the test`,
    ...all.map(
      ({ name, totalMs, aroundMs }) =>
        `${name.padEnd(36)}${ms(totalMs)} ${ms(totalMs, 0.1)} ${ms(totalMs, 0.9)} ${ms(aroundMs)}`,
    ),
    '',
    ...others.map(({ name, totalMs, roundMs }) => {
      const ratios = roundMs.map((sum, round) => sum / shared.roundMs[round]!);
      const ratio = quantile(totalMs, 0.5) / quantile(shared.totalMs, 0.5);
      const [low, high] = [quantile(ratios, 0), quantile(ratios, 1)];
      return (
        `${name}: ${ratio.toFixed(1)} times as long as the shared transaction ` +
        `(rounds: ${low.toFixed(1)} to ${high.toFixed(1)})`
      );
    }),
  ].join('\n');
}

function ms(values: readonly number[], share = 0.5): string {
  return `${quantile(values, share).toFixed(1)} ms`.padStart(9);
}
