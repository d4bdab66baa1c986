import { createWorkerDatabase, type WorkerDatabase } from 'nestjs-db-context/testing';
import { Client } from 'pg';

import { AppProcess } from '../support/app-process.js';
import { waitFor } from '../support/wait-for.js';

const SERVER_URL = process.env['DB_CONTEXT_TEST_URL']!;
const LOST = expect.stringMatching(/^claim: .*another process has taken it/);

/** All tests share one template. */
const template = `wr_${process.pid}`;

let server: Client;
let worker: AppProcess;
let pid: number;
/** The URL of the worker's database. */
let url: string;
let others: WorkerDatabase[];

beforeAll(async () => {
  server = new Client({ connectionString: SERVER_URL });
  await server.connect();
});
afterAll(async () => {
  await dropAll('_');
  await server.end();
});
afterEach(async () => {
  await worker.kill();
  await Promise.all(others.map((each) => each.drop()));
  await dropAll('_worker_');
});

async function dropAll(kind: string): Promise<void> {
  const { rows } = await server.query<{ datname: string }>(
    'select datname from pg_database where starts_with(datname, $1)',
    [`${template}${kind}`],
  );
  for (const { datname } of rows) {
    await server.query(`drop database "${datname}" with (force)`);
  }
}

async function startWorker(reuse: boolean): Promise<void> {
  others = [];
  worker = await AppProcess.start('test/fixtures/worker-database/answers.ts', {
    serverUrl: SERVER_URL,
    template,
    workerId: 'a',
    reuse,
  });
  pid = (await ask('pid')) as number;
  url = (await ask('url')) as string;
  await on(url, "insert into note (text) values ('of the first')");
}

/** Asks the worker for something. */
async function ask(what: string): Promise<unknown> {
  const response = await fetch(`${worker.url}/${what}`);
  const { value, failure } = (await response.json()) as { value?: unknown; failure?: string };
  return failure ?? value;
}

async function on(at: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: at });
  await client.connect();
  try {
    return (await client.query<{ text: string }>(sql)).rows.map(({ text }) => text);
  } finally {
    await client.end();
  }
}

const CONNECTIONS = "starts_with(datname, $1) or application_name like '%.' || $2 || '.%'";

/** Ends all connections of the worker, as a restart of the server does, and waits for their end. */
async function endConnections(): Promise<void> {
  const { rows } = await server.query<{ pid: number }>(
    `select pid, pg_terminate_backend(pid) from pg_stat_activity where ${CONNECTIONS}`,
    [`${template}_`, pid],
  );
  expect(rows.length).toBeGreaterThanOrEqual(2);
  const left = 'select from pg_stat_activity where pid = any($1)';
  await waitFor(
    async () => (await server.query(left, [rows.map((row) => row.pid)])).rows.length === 0,
    { what: 'the end of the connections' },
  );
}

async function createOther(reuse: boolean, workerId: string): Promise<WorkerDatabase> {
  const other = await createWorkerDatabase({
    serverUrl: SERVER_URL,
    template: { name: template, prepare: () => undefined },
    workerId,
    reuse,
  });
  others.push(other);
  return other;
}

describe('where the server has ended all connections of a process, its worker database', () => {
  it.each([true, false])(
    'stays its own, since it takes the name again (reuse: %s)',
    async (reuse) => {
      await startWorker(reuse);
      await endConnections();
      const [a, b] = [await createOther(reuse, 'a'), await createOther(reuse, 'b')];
      expect([a.name, b.name]).toEqual([`${template}_worker_a_2`, `${template}_worker_b`]);
      await on(a.url, "insert into note (text) values ('of the second')");
      expect(await on(url, 'select text from note')).toEqual(['of the first']);
      expect(await ask('reset')).toBeUndefined();
      expect(await on(url, 'select text from note')).toEqual([]);
      expect(await on(a.url, 'select text from note')).toEqual(['of the second']);
    },
  );

  it('is left to it while a client is connected there, also by a worker that sweeps', async () => {
    await startWorker(false);
    process.kill(pid, 'SIGSTOP');
    await endConnections();
    const client = new Client({ connectionString: url });
    await client.connect();
    const [a, b] = [await createOther(false, 'a'), await createOther(false, 'b')];
    expect([a.name, b.name]).toEqual([`${template}_worker_a_2`, `${template}_worker_b`]);
    const { rows } = await client.query('select text from note');
    expect(rows).toEqual([{ text: 'of the first' }]);
    await client.end();
    process.kill(pid, 'SIGCONT');
    expect(await ask('reset')).toBeUndefined();
    expect(await on(url, 'select text from note')).toEqual([]);
  });

  it('is refused to it where another process has had it meanwhile, also after that has closed it', async () => {
    await startWorker(true);
    process.kill(pid, 'SIGSTOP');
    await endConnections();
    const other = await createOther(true, 'a');
    expect(other.name).toBe(`${template}_worker_a`);
    await on(other.url, "insert into note (text) values ('of the second')");
    await other.close();
    process.kill(pid, 'SIGCONT');
    for (const each of ['reset', 'url', 'close', 'reset']) {
      expect(await ask(each)).toEqual(LOST);
    }
    expect(await on(url, 'select text from note')).toEqual(['of the second']);
    const third = await createOther(true, 'a');
    expect(third.name).toBe(other.name);
  });
});
