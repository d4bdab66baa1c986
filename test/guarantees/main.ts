/**
 * Measures what faults do to a plain MikroORM application and to one with this library, and prints
 * the table of docs/guarantees.md: `npm run guarantees`. The figures go to the file that
 * `--json <file>` names; `--only <words>` measures the faults whose title holds these words.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { startLocalPostgres } from '../../sample/starter/local-postgres.js';
import { FaultDatabase } from '../faults/support/fault-database.js';
import type { ComparedFault } from './compared-fault.js';
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
import { harmOf, json, markdown, type Row } from './table.js';

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
for (const fault of ALL.filter(({ title }) => title.includes(values.only ?? ''))) {
  const plain = await measureAloud(fault, 'plain');
  const library = await measureAloud(fault, 'library');
  rows.push({ fault, plain, library });
}
console.log(markdown(rows));
if (values.json !== undefined) {
  writeFileSync(values.json, `${json(rows)}\n`);
}
await postgres.stop();
// What hangs in the plain applications would keep the process alive. Harm to ours is a failure.
process.exit(rows.some(({ library }) => harmOf(library).length > 0) ? 1 : 0);

async function measureAloud(fault: ComparedFault, side: SideName): Promise<Figures> {
  const figures = await measure(fault, side, faultDatabase, errors);
  const harm = harmOf(figures).join('; ') || 'no harm';
  process.stderr.write(
    `${side.padEnd(7)} ${fault.title}: ${harm}; ${JSON.stringify(figures.answered)}\n`,
  );
  return figures;
}
