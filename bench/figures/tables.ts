import { answersTable, pausesTable, type SoakFigures } from '../../test/soak/table.js';
import { faultsTable, harmTable, type ComparedFigures } from '../../test/guarantees/table.js';
import { aimsTable } from '../report/aims.js';
import type { Results } from '../report/results.js';
import { summaryTable } from '../report/summary-table.js';
import {
  callsTable,
  countsTable,
  latencyTable,
  machineryTable,
  memoryTable,
  packagesTable,
  throughputTable,
} from '../report/tables.js';

/** A script that measures and leaves its figures in docs/figures. */
interface Script {
  /** Its file, relative to the root. */
  readonly file: string;
  /** How it is called; `--json` and what else was asked of it follow. */
  readonly command: string;
}

/** A table that a block of a page may ask for. */
interface Table {
  readonly script: Script;
  /** @param figures what the script has left */
  readonly textOf: (figures: object) => string;
}

type Texts<Figures> = Readonly<Record<string, (figures: Figures) => string>>;

const BENCH = { file: 'bench/main.ts', command: 'npm run bench' };
const GUARANTEES = { file: 'test/guarantees/main.ts', command: 'npm run guarantees' };
const SOAK = { file: 'test/soak/main.ts', command: 'npm run soak' };

const OF_BENCH: Texts<Results> = {
  summary: summaryTable,
  aims: aimsTable,
  'round-trips': ({ roundTrips }) => countsTable(roundTrips),
  promises: ({ promises }) => countsTable(promises),
  memory: ({ memory }) => memoryTable(memory),
  calls: ({ calls }) => callsTable(calls),
  machinery: ({ machinery }) => machineryTable(machinery),
  packages: ({ packages }) => packagesTable(packages),
  throughput: ({ throughput }) => throughputTable(throughput),
  observed: ({ observed }) => throughputTable(observed),
  latency: ({ latency }) => latencyTable(latency),
};
const OF_GUARANTEES: Texts<ComparedFigures> = { harm: harmTable, faults: faultsTable };
const OF_SOAK: Texts<SoakFigures> = { pauses: pausesTable, answers: answersTable };

/** The tables by name. What a file holds is known by the script that has written it. */
export const TABLES: Readonly<Record<string, Table>> = {
  ...tablesOf(BENCH, OF_BENCH),
  ...tablesOf(GUARANTEES, OF_GUARANTEES),
  ...tablesOf(SOAK, OF_SOAK),
};

function tablesOf(script: Script, texts: Texts<never>): Record<string, Table> {
  return Object.fromEntries(
    Object.entries(texts).map(([name, textOf]) => [
      name,
      { script, textOf: (figures) => textOf(figures as never) },
    ]),
  );
}
