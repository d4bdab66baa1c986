import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import { fixtureOf, runFiles, TEST_RUNNERS, type TestRun } from '../support/test-runners.js';

/** Longest time of a run, on a machine that is busy with others. */
const LIMIT_MS = 120_000;

let database: TestDatabase;
let directory: string;

beforeAll(async () => {
  database = await createTestDatabase();
  directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-retries-'));
});
beforeEach(async () => {
  await database.query(`drop table if exists note; ${NOTE_SCHEMA}`);
});
afterAll(async () => {
  await database.drop();
  await rm(directory, { recursive: true, force: true });
});

function run(name: keyof typeof TEST_RUNNERS, ...fixtures: string[]): Promise<TestRun> {
  const runner = TEST_RUNNERS[name];
  const files = fixtures.map((each) => fixtureOf(runner, each));
  return runFiles(runner, files, directory, { RETRIED_URL: database.url });
}

async function savedTexts(): Promise<string[]> {
  const rows = await database.query<{ text: string }>('select text from note order by id');
  return rows.map(({ text }) => text);
}

it.each(['Jest', 'Vitest'] as const)(
  'T1: keepOnFailure keeps the rows of the last try of %s, and refuses no retry',
  async (name) => {
    const { tests, output } = await run(name, 'retried');
    expect(tests.length > 0 ? tests : output).toMatchObject([
      { title: 'is flaky', status: 'passed' },
      {
        title: 'always fails',
        status: 'failed',
        failureMessages: expect.arrayContaining([
          expect.stringContaining('of try 3'),
          expect.stringContaining('The rows of the test "always fails" were kept'),
        ]),
      },
    ]);
    expect(output).not.toContain('This test would see them');
    expect(await savedTexts()).toEqual(['failing 3']);
  },
  LIMIT_MS,
);

it(
  'T1: the subtests of node:test are in the transaction of their test, which ends with that',
  async () => {
    const { tests, output } = await run('node:test', 'subtests');
    const statuses = Object.fromEntries(tests.map(({ title, status }) => [title, status]));
    expect(tests.length > 0 ? statuses : output).toEqual({
      'a step in it': 'passed',
      'the first step': 'passed',
      'a step that fails': 'failed',
      'the last step': 'passed',
      // Node fails the test around one that fails.
      steps: 'failed',
      'after the steps': 'passed',
    });
    const messageOf = (title: string): unknown =>
      tests.find((each) => each.title === title)?.failureMessages;
    expect(messageOf('a step that fails')).toEqual(['the words of the step']);
    expect(messageOf('steps')).toEqual(['1 subtest failed']);
    expect(await savedTexts()).toEqual([]);
  },
  LIMIT_MS,
);

it(
  'T1: keepOnFailure keeps a test of node:test of which a subtest has failed, with all of it',
  async () => {
    const { tests, output } = await run('node:test', 'kept-subtests');
    expect(tests.length > 0 ? tests.map(({ status }) => status) : output).toEqual([
      'failed',
      'failed',
    ]);
    expect(await savedTexts()).toEqual(['of the step', 'after the step']);
  },
  LIMIT_MS,
);
