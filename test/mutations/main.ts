/**
 * Breaks the lines that keep the promises, one at a time, in a copy of the repository, and demands
 * that a test fails for each: `npm run mutations`. With `-- --only F3` only those of a promise, or
 * those whose description holds the words; `-- --list` prints the list, and `-- --check` looks
 * whether it still fits the code, and runs nothing. Ends with 1 when a mutation goes unnoticed.
 */
import { readFileSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Cluster } from '../../sample/starter/cluster.js';
import { MUTATIONS, PENDING } from './list.js';
import { mutated, type Mutation } from './mutation.js';
import { runJest, type JestRun, type TestRun } from './run-jest.js';
import { Workspace } from './workspace.js';

/** A mutation that makes the tests hang for so long is one that they notice. */
const LIMIT_MS = 180_000;
/** All tests that have noticed something are run once more, on the code as it is. */
const CONTROL_LIMIT_MS = 1_800_000;

/** What has come of one mutation. */
interface Finding {
  readonly mutation: Mutation;
  /** The test that has noticed it, if one has; `hung`: the tests did not end. */
  readonly noticedBy: TestRun | 'hung' | undefined;
  /** What stands in the table. */
  readonly text: string;
  readonly seconds: number;
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    list: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const isChosen = ({ id, what }: { readonly id: string; readonly what: string }): boolean =>
  values.only.length === 0 || values.only.some((words) => id === words || what.includes(words));
const chosen = MUTATIONS.filter(isChosen);
const root = await realpath(process.cwd());

if (values.list) {
  for (const { id, what, file, spec, test } of chosen) {
    console.log(`${id}: ${what} (${file}; ${spec}${test === undefined ? '' : `, -t '${test}'`})`);
  }
} else if (values.check) {
  process.exitCode = check() ? 0 : 1;
} else {
  process.exitCode = (await breakAll()) ? 0 : 1;
}

/** @returns whether each mutation still fits the code */
function check(): boolean {
  const problems = chosen.flatMap((mutation) => {
    try {
      mutated(mutation, readFileSync(join(root, mutation.file), 'utf8'));
      return [];
    } catch (error) {
      return [(error as Error).message];
    }
  });
  problems.forEach((problem) => console.log(problem));
  return tell(chosen.length - problems.length, problems.length);
}

/** @returns whether a test has noticed each mutation */
async function breakAll(): Promise<boolean> {
  // For the clean-up, which is left to the event 'exit'.
  process.once('SIGINT', () => process.exit(1));
  process.once('SIGTERM', () => process.exit(1));
  const workspace = new Workspace(root);
  process.once('exit', () => workspace.remove());
  const cluster = await startServer();
  try {
    console.log('| promise | what is broken | noticed by | seconds |');
    console.log('| --- | --- | --- | ---: |');
    for (const { id, what, issue } of PENDING.filter(isChosen)) {
      console.log(`| ${id} | ${what} | work of issue ${issue} | |`);
    }
    const findings: Finding[] = [];
    for (const mutation of chosen) {
      const finding = await tryMutation(workspace, mutation);
      const { text, seconds } = finding;
      console.log(`| ${mutation.id} | ${mutation.what} | ${text} | ${seconds.toFixed(1)} |`);
      findings.push(finding);
    }
    const deceived = await failingAnyway(workspace, findings);
    for (const { mutation, text } of deceived) {
      console.log(`${mutation.id}: ${mutation.what}: fails on the code as it is, too: ${text}`);
    }
    const passed = findings.filter(
      (finding) => finding.noticedBy !== undefined && !deceived.includes(finding),
    );
    return tell(passed.length, findings.length - passed.length);
  } finally {
    await cluster?.stop();
  }
}

function tell(passed: number, failed: number): boolean {
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

/** One PostgreSQL for all runs of Jest, which otherwise start one each. */
async function startServer(): Promise<Cluster | undefined> {
  if (process.env['DB_CONTEXT_TEST_URL'] !== undefined) {
    return undefined;
  }
  const cluster = await Cluster.start({
    standbys: 0,
    settings: ['full_page_writes=off', 'synchronous_commit=off', 'max_connections=300'],
  });
  process.env['DB_CONTEXT_TEST_URL'] = cluster.primaryUrl;
  return cluster;
}

async function tryMutation(workspace: Workspace, mutation: Mutation): Promise<Finding> {
  const { spec, test } = mutation;
  const startedAt = performance.now();
  let judgement: Pick<Finding, 'noticedBy' | 'text'>;
  try {
    const run = await workspace.with(mutation, () =>
      runJest(workspace.directory, { specs: [spec], test }, LIMIT_MS),
    );
    judgement = judge(mutation, run);
  } catch (error) {
    judgement = { noticedBy: undefined, text: `**not tried:** ${(error as Error).message}` };
  }
  return { mutation, ...judgement, seconds: (performance.now() - startedAt) / 1_000 };
}

function judge({ id }: Mutation, run: JestRun): Pick<Finding, 'noticedBy' | 'text'> {
  if (run.tag === 'hung') {
    return { noticedBy: 'hung', text: `the tests did not end within ${LIMIT_MS / 1_000} s` };
  }
  if (run.tag === 'not-loaded') {
    return { noticedBy: undefined, text: `**a spec could not be loaded:** ${run.message}` };
  }
  const failed = run.tests.filter(({ hasPassed }) => !hasPassed);
  const noticedBy = failed.find(({ title }) => title.includes(id)) ?? failed[0];
  if (noticedBy === undefined) {
    const count = run.tests.length;
    return { noticedBy, text: count === 0 ? '**no test was run**' : `**none of ${count} tests**` };
  }
  const { spec, title } = noticedBy;
  const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : '';
  const where = spec.replace(/^test\/(.*)\.spec\.ts$/, '$1');
  return { noticedBy, text: `${where}: ${title}${more}` };
}

/** The findings that say nothing, since their tests fail, or hang, without the mutation as well. */
async function failingAnyway(
  workspace: Workspace,
  findings: readonly Finding[],
): Promise<readonly Finding[]> {
  const tests = findings.flatMap(({ noticedBy }) =>
    noticedBy === undefined || noticedBy === 'hung' ? [] : [noticedBy],
  );
  const names = [...new Set(tests.map(({ fullName }) => fullName))];
  const control = await (names.length === 0
    ? undefined
    : runJest(
        workspace.directory,
        {
          specs: [...new Set(tests.map(({ spec }) => escaped(spec)))],
          test: `^(${names.map(escaped).join('|')})$`,
        },
        CONTROL_LIMIT_MS,
      ));
  const sound = control?.tag === 'ran' ? control.tests.filter(({ hasPassed }) => hasPassed) : [];
  const deceived: Finding[] = [];
  for (const finding of findings) {
    const { mutation, noticedBy } = finding;
    if (noticedBy === 'hung') {
      const { spec, test } = mutation;
      const run = await runJest(workspace.directory, { specs: [spec], test }, LIMIT_MS);
      if (run.tag !== 'ran' || run.tests.some(({ hasPassed }) => !hasPassed)) {
        deceived.push(finding);
      }
    } else if (noticedBy !== undefined) {
      const isSound = sound.some(
        ({ spec, fullName }) => spec === noticedBy.spec && fullName === noticedBy.fullName,
      );
      if (!isSound) {
        deceived.push(finding);
      }
    }
  }
  return deceived;
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
