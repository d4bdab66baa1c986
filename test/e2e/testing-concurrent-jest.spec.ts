import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { createTestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What Jest says of a run, the part that is looked at. */
interface JestReport {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly title: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

describe('it.concurrent of Jest beside useTestTransaction()', () => {
  it('T1: fails by the name of the error, and commits nothing', async () => {
    const database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    const args = [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      'node_modules/jest/bin/jest.js',
      '--config=test/fixtures/concurrent-tests/jest.config.mjs',
      '--json',
      '--coverage=false',
      '--runInBand',
    ];
    const env = { ...process.env, NOTES_URL: database.url };
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env }).catch(
      (failed: unknown) => failed as { readonly stdout: string },
    );
    const { testResults } = JSON.parse(stdout) as JestReport;
    // One file: which of several Jest puts first, its cache decides.
    expect(testResults).toHaveLength(1);
    const [file] = testResults;
    if (file?.assertionResults.length === 0) {
      // Jest could not even load the file, and says why in place of results.
      throw new Error(file.message);
    }

    expect(await database.query('select text from note')).toEqual([]);
    const refused = [expect.stringContaining('OutsideTestError: Connection "default" was used')];
    expect(file?.assertionResults).toMatchObject([
      { title: 'writes a', status: 'failed', failureMessages: refused },
      { title: 'writes b', status: 'failed', failureMessages: refused },
      { title: 'writes c', status: 'failed', failureMessages: refused },
      { title: 'swallows that it could not write', status: 'passed' },
      { title: 'runs in turn, as always', status: 'passed' },
    ]);
    // The file fails all the same, by its afterAll().
    expect(file?.message).toContain('This happened 4 times.');
    await database.drop();
    // A run of Jest that has nothing in its cache takes a while on a machine with other work.
  }, 120_000);
});
