import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { waitFor } from '../../../test/support/wait-for.js';
import { send } from '../../starter/walkthrough.js';
import { STEPS } from '../steps.js';

/** All sources are compiled as they are loaded, which takes a while on a busy machine. */
const START_LIMIT_MS = 60_000;

/** A line without what differs between runs. */
function plain(line: string): string {
  return line.replace(/ \([\d.]+ ms\)$/, '').replace(/(db_context\.retry 1) [\d.e-]+/, '$1');
}

// In a process of its own, since only there the modules are loaded as in an application.
describe('sample 09-observability', () => {
  let database: TestDatabase;
  let child: ChildProcess;
  const lines: string[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    child = spawn(
      process.execPath,
      ['--import', './test/support/typescript.register.mjs', 'sample/09-observability/main.ts'],
      {
        env: { ...process.env, DATABASE_URL: database.url, PORT: '0' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    createInterface({ input: child.stdout! }).on('line', (line) => lines.push(line));
    await waitFor(() => urlIn(lines) !== undefined, {
      what: 'the sample to listen',
      timeoutMs: START_LIMIT_MS,
    });
  }, START_LIMIT_MS);
  afterAll(async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
    await database.drop();
  });

  it('prints the spans that its walkthrough speaks of, and no number of a card', async () => {
    const url = urlIn(lines)!;
    lines.length = 0;
    const answers: string[] = [];
    for (const step of STEPS) {
      const response = await send(url, step);
      expect(response.status).toBe(step.status);
      answers.push(await response.text());
    }
    await waitFor(() => lines.some((line) => line.startsWith('GET /metrics')), {
      what: 'the span of the last request',
    });
    const text = lines.map(plain).join('\n');
    expect(text).toContain(`
POST /orders 201
  TRANSACTION ${database.name} committed
`);
    expect(text).toContain(`
    pg.query:BEGIN;INSERT ${database.name} begin;insert into "orders" ("item", "card", "count") values (?, ?, ?) returning "id"
`);
    expect(text).toContain(`
  TRANSACTION ${database.name} rolled-back
    * db_context.savepoint.set trx1
    * db_context.savepoint.end trx1 rolled-back
    * db_context.rollback application
`);
    expect(text).toContain(`
POST /orders/more 200
  * db_context.retry 1 40001
  TRANSACTION ${database.name} rolled-back FAILED
    * db_context.rollback UNEXPECTED_ROLLBACK 40001 40001
`);
    expect(text).not.toContain('4111');
    const [, , , more, metrics] = answers;
    expect(more).toBe('11');
    expect(metrics).toContain('db_context_retries_total{error_type="40001"} 1');
    expect(metrics).toMatch(/db_context_transactions_total\{.*"committed"\} [1-9]/);
  });
});

function urlIn(lines: readonly string[]): string | undefined {
  return /listens on (\S+)/.exec(lines.join('\n'))?.[1];
}
