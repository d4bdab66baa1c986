/**
 * Measures what faults do to a plain MikroORM application and to one with this library, and prints
 * the tables of docs/guarantees.md: `npm run guarantees`. The figures go to the file that
 * `--json <file>` names, from where `npm run figures` takes them; `--only <words>` measures the faults
 * whose title holds these words.
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

import { measurementNow } from '../../bench/report/measurement.js';
import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { FaultDatabase } from '../faults/support/fault-database.js';
import { POOL_SIZE } from '../faults/support/world.js';
import { TIMES, type ComparedFault } from './compared-fault.js';
import type { SideName } from './compared-world.js';
import { BRANCH_FAULTS } from './faults/branches.js';
import { CALLER_FAULTS } from './faults/callers.js';
import { COMMIT_FAULTS } from './faults/commit.js';
import { LATE_FAULTS } from './faults/late.js';
import { LINK_FAULTS } from './faults/link.js';
import { POOLED_FAULTS } from './faults/pooled.js';
import { PROTOCOL_FAULTS } from './faults/protocol.js';
import { SERVER_FAULTS } from './faults/server.js';
import { measure, UnheardErrors, type Figures } from './measure.js';
import { faultsTable, harmOf, harmTable, type ComparedFigures, type Row } from './table.js';

const ALL: readonly ComparedFault[] = [
  ...SERVER_FAULTS,
  ...LINK_FAULTS,
  ...COMMIT_FAULTS,
  ...BRANCH_FAULTS,
  ...LATE_FAULTS,
  ...POOLED_FAULTS,
  ...CALLER_FAULTS,
  ...PROTOCOL_FAULTS,
];

const { values } = parseArgs({ options: { json: { type: 'string' }, only: { type: 'string' } } });
// Ctrl-C needs no care: the server ends when the pipe to this process breaks.
const postgres = startLocalPostgres(['postgres_of_guarantees']);
process.env['DB_CONTEXT_TEST_URL'] = (await postgres.urls).postgres_of_guarantees;
const faultDatabase = await FaultDatabase.open();
const errors = new UnheardErrors();
const rows: Row[] = [];
const figures: ComparedFigures = {
  ...measurementNow(),
  versions: {
    MikroORM: versionOf('@mikro-orm/core'),
    pg: versionOf('pg'),
    PostgreSQL: await serverVersion(),
  },
  times: TIMES,
  poolSize: POOL_SIZE,
  faults: rows,
};
for (const fault of ALL.filter(({ title }) => title.includes(values.only ?? ''))) {
  const plain = await measureAloud(fault, 'plain');
  const library = await measureAloud(fault, 'library');
  rows.push({ title: fault.title, proofs: fault.proofs, plain, library });
}
console.log(`${harmTable(figures)}\n\n${faultsTable(figures)}`);
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify(figures, undefined, 2)}\n`);
}
await postgres.stop();
// What hangs in the plain applications would keep the process alive. Harm to ours is a failure.
process.exit(rows.some(({ library }) => harmOf(library, figures).length > 0) ? 1 : 0);

async function measureAloud(fault: ComparedFault, side: SideName): Promise<Figures> {
  const measured = await measure(fault, side, faultDatabase, errors);
  const harm = harmOf(measured, figures).join('; ') || 'no harm';
  process.stderr.write(
    `${side.padEnd(7)} ${fault.title}: ${harm}; ${JSON.stringify(measured.answered)}\n`,
  );
  return measured;
}

function versionOf(name: string): string {
  const require = createRequire(import.meta.url);
  return (require(`${name}/package.json`) as { readonly version: string }).version;
}

async function serverVersion(): Promise<string> {
  const [row] = await faultDatabase.database.query<{ server_version: string }>(
    'show server_version',
  );
  return row!.server_version;
}
