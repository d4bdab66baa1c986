/** The program of the README, as it stands there, in a process of its own on an empty database. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { freePort } from '../support/server-process.js';
import { waitFor } from '../support/wait-for.js';

/** Boots in seconds, and on busy cores in some more. */
const BOOT_LIMIT_MS = 60_000;

let database: TestDatabase;
let program: ChildProcess | undefined;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  program?.kill('SIGKILL');
  await database.drop();
});

it(
  'S1, S3: makes its table, saves a row and changes it, also ten times at once, and ends by itself',
  async () => {
    const port = await freePort();
    program = spawn(
      process.execPath,
      ['--import', './test/support/typescript.register.mjs', 'test/types/readme-examples.ts'],
      { stdio: 'ignore', env: { ...process.env, PORT: `${port}`, DATABASE_URL: database.url } },
    );
    const ended = once(program, 'exit');
    const post = async (path: string, body: object): Promise<Response> =>
      fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const listens = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      );
    await waitFor(listens, { what: 'the program to listen', timeoutMs: BOOT_LIMIT_MS });

    const opened = await post('/accounts', { owner: 'Ada' });
    expect([opened.status, await opened.json()]).toEqual([
      201,
      { id: 1, owner: 'Ada', balance: 0 },
    ]);
    const changed = await post('/accounts/1/deposits', { cents: 250 });
    expect([changed.status, await changed.json()]).toEqual([
      201,
      { id: 1, owner: 'Ada', balance: 250 },
    ]);
    expect((await post('/accounts/2/deposits', { cents: 1 })).status).toBe(500);
    const atOnce = await Promise.all(
      Array.from({ length: 10 }, () => post('/accounts/1/deposits', { cents: 100 })),
    );
    expect(atOnce.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 201));
    expect(await database.query('select * from account')).toEqual([
      { id: 1, owner: 'Ada', balance: 1_250 },
    ]);

    program.kill('SIGTERM');
    expect(await ended).toEqual([null, 'SIGTERM']);
  },
  2 * BOOT_LIMIT_MS,
);
