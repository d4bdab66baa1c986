import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';

const FIXTURE = 'test/fixtures/timed-out/app.fixture.ts';

describe('T1: more concurrent tests than connections that all time out', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());

  // Node itself prints an overflow of the stack that no code can catch, so it takes a process to see it.
  it('leave nothing on standard error, and their late work is refused', async () => {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--import', './test/support/typescript.register.mjs', FIXTURE, database.url],
      { timeout: 18_000 },
    );
    expect(stderr).toBe('');
    const { failed, refused, rows, tests } = JSON.parse(stdout) as {
      readonly failed: readonly string[];
      readonly refused: readonly unknown[];
      readonly rows: readonly unknown[];
      readonly tests: number;
    };
    expect(failed).toEqual(Array.from({ length: tests }, () => 'rejected'));
    expect(refused.length).toBeGreaterThan(0);
    expect(refused).toEqual(refused.map(() => [500, 'OUTSIDE_TEST']));
    expect(rows).toEqual([{ count: 0 }]);
  });
});
