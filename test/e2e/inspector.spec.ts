import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';

import {
  Injectable,
  VersioningType,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
} from '@nestjs/common';

import { RequestLog } from '../../lib/inspector/request-log.js';
import type { RequestDetail, RequestSummary } from '../../lib/inspector/view/view-types.js';
import { InspectionStream } from '../support/inspection-stream.js';
import { SECRET, startInspectedApp, type InspectedApp } from '../support/inspector-app.js';
import { LogRecorder } from '../support/log-recorder.js';
import { withPrepareStackTrace } from '../support/prepare-stack-trace.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const BASE = '/api/admin/db';

@Injectable()
class OpenSesame implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    return headers['x-closed'] === undefined;
  }
}

/** The answer to a request with headers that fetch() does not send. */
async function ask(
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, { headers }, (answer) => {
      text(answer).then((body) => resolve({ status: answer.statusCode!, body }), reject);
    }).once('error', reject);
  });
}

describe.each<AdapterName>(['express', 'fastify'])('the inspector over %s', (adapter) => {
  let app: InspectedApp;
  let stream: InspectionStream;

  beforeAll(async () => {
    app = await startInspectedApp(
      {
        adapter,
        mount: 'middleware',
        configure: (nest: INestApplication) => {
          nest.setGlobalPrefix('api');
          nest.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
          nest.enableCors({ origin: true, credentials: true });
        },
      },
      { path: '/admin/db', guard: OpenSesame, maxRequests: 20 },
    );
    stream = new InspectionStream(`${app.url}${BASE}/stream`);
    await waitFor(() => stream.texts.length > 0, { what: 'the list' });
  });
  let isClosed = false;
  afterAll(() => (isClosed ? undefined : app?.close()));

  /** Sends a request to a route of the application, and says what the inspector has of it. */
  const inspect = async (
    method: 'GET' | 'POST',
    path: string,
    status: number,
  ): Promise<RequestDetail> => {
    const before = Math.max(0, ...stream.summaries.map(({ id }) => id));
    const answer = await app.fetch(`/api/v1/notes/${path}`, { method });
    await answer.text();
    expect(answer.status).toBe(status);
    const own = (): RequestSummary | undefined =>
      stream.summaries.findLast(({ id, outcome }) => id > before && outcome !== 'running');
    await waitFor(() => own() !== undefined, { what: 'the request in the stream' });
    const detail = await app.fetch(`${BASE}/requests/${own()!.id}`);
    return (await detail.json()) as RequestDetail;
  };
  const lines = (detail: RequestDetail, connection = 0): string[] =>
    detail.connections[connection]!.transactions.flatMap(({ rows }) =>
      rows
        .filter(({ kind }) => kind !== 'idle')
        .map((row) =>
          row.kind === 'finding'
            ? `finding: ${row.title}`
            : `${'  '.repeat(row.depth)}${row.kind}: ${row.begins === true ? 'BEGIN ' : ''}${row.text}` +
              (row.rows === undefined ? '' : ` [${row.rows}]`),
        ),
    );

  const INSERT = 'insert into "note" ("text") values (?) returning "id"';

  it('shows a read: its route, its wait, BEGIN with the first statement, and COMMIT', async () => {
    const detail = await inspect('GET', `find/${SECRET}`, 200);
    expect(detail).toMatchObject({
      title: 'GET /api/v1/notes/find/:text',
      origin: 'InspectedController.find',
      status: 200,
      outcome: 'committed',
      statements: 1,
      findings: 0,
      reasons: [],
    });
    expect(detail.transactionMs).toBeGreaterThan(0);
    expect(lines(detail)).toEqual([
      'wait: Waiting for a connection',
      'statement: BEGIN select "n0".* from "note" as "n0" where "n0"."text" = ? [0]',
      'commit: commit',
    ]);
    const [, select] = detail.connections[0]!.transactions[0]!.rows;
    expect(select!.place).toMatch(
      /InspectedController\.find \(test[/\\]support[/\\]inspector-app\.ts:\d+/,
    );
  });

  it('shows two databases, one under the other', async () => {
    const detail = await inspect('POST', 'both', 201);
    expect(detail.connections.map(({ name }) => name)).toEqual(['default', 'audit']);
    expect(lines(detail, 1)).toEqual([
      'wait: Waiting for a connection',
      `statement: BEGIN ${INSERT} [1]`,
      'commit: commit',
    ]);
  });

  it('says why a request was rolled back, and not what the error quotes', async () => {
    const detail = await inspect('POST', 'refused', 409);
    expect(detail).toMatchObject({ outcome: 'rolled-back', status: 409 });
    expect(detail.reasons).toEqual([
      { text: 'Its handler has thrown', error: { name: 'ConflictException', message: '' } },
    ]);
    const unique = await inspect('POST', 'unique', 500);
    expect(unique.reasons).toMatchObject([
      {
        error: {
          name: 'UniqueConstraintViolationException',
          code: '23505',
          message: 'duplicate key value violates unique constraint "code_code_key"',
        },
      },
    ]);
  });

  it('O1: shows a message of the server, and not what the application has made of it', async () => {
    const reason = async (how: string): Promise<unknown> =>
      (await inspect('GET', `enriched/${how}`, 500)).reasons[0]!.error;
    const code = '22012';
    expect(await reason('passed')).toMatchObject({ code, message: 'division by zero' });
    expect(await reason('changed')).toMatchObject({ code, message: '' });
    expect(await reason('another')).toMatchObject({ code, message: '' });
    expect(await reason('made')).toMatchObject({ code: '23505', message: '' });
  });

  it('O1: shows a request whose error has a name that is no text, or a long one', async () => {
    const reason = async (what: string): Promise<unknown> =>
      (await inspect('GET', `odd/${what}`, 500)).reasons[0]!.error;
    expect(await reason('symbol')).toEqual({ name: 'Error', message: '' });
    expect(await reason('bigint')).toEqual({ name: 'Error', message: '' });
    expect(await reason('object')).toEqual({ name: 'Error', message: '' });
    expect(await reason('long')).toEqual({
      name: `${'N'.repeat(200)} …`,
      code: `${'C'.repeat(200)} …`,
      message: '',
    });
  });

  it('says why a commit became a rollback, or has failed: the message, the reason and the cause', async () => {
    const cause = {
      code: '23505',
      message: 'duplicate key value violates unique constraint "code_code_key"',
    };
    const swallowed = await inspect('POST', 'swallowed', 500);
    expect(swallowed.reasons).toEqual([
      {
        text: 'Its commit has failed',
        error: {
          name: 'UnexpectedRollbackError',
          code: 'UNEXPECTED_ROLLBACK',
          message:
            'The transaction on connection "default" in the context of InspectedController.swallowed was ' +
            'rolled back instead of committed: a statement had failed and its error was swallowed; let the ' +
            'error through, or wrap the statement in em.transactional() so that a savepoint undoes it.',
          reason: 'failed-statement',
          cause: expect.objectContaining(cause),
        },
      },
    ]);
    const deferred = await inspect('POST', 'deferred', 500);
    expect(deferred.reasons).toMatchObject([
      {
        text: 'Its commit has failed',
        error: { ...cause, message: cause.message.replace('code_', 'later_') },
      },
    ]);
  });

  it('finds the same statement sent again and again, and flushes at once', async () => {
    const detail = await inspect('GET', 'n-plus-one', 200);
    expect(detail.findings).toBe(1);
    const count = 'select count(*) as "count" from "note" as "n0" where "n0"."text" = ? [1]';
    expect(lines(detail).slice(1, 4)).toEqual([
      `statement: BEGIN ${count}`,
      'finding: N+1: the same statement 6 times',
      `statement: ${count}`,
    ]);
    const atOnce = await inspect('POST', 'at-once', 200);
    expect(lines(atOnce)).toContain('finding: Two flushes at once');
  });

  it('nests savepoints', async () => {
    expect(lines(await inspect('POST', 'parts', 200))).toEqual([
      'wait: Waiting for a connection',
      'savepoint: BEGIN savepoint trx1: undone',
      `  statement: ${INSERT} [1]`,
      '  statement: rollback to savepoint "trx1"; release savepoint "trx1" [0]',
      'commit: commit',
    ]);
  });

  it('names the route of what a guard has denied, and of what has none no more than the first part', async () => {
    expect(await inspect('GET', `denied/${SECRET}`, 403)).toMatchObject({
      title: 'GET /api/v1/notes/denied/:text',
    });
    expect(await inspect('GET', `../${SECRET}`, 404)).toMatchObject({ title: 'GET /api/…' });
  });

  it('counts the attempts of a request that was retried, and shows a context inside of it', async () => {
    expect(await inspect('POST', 'retried', 200)).toMatchObject({
      outcome: 'committed',
      attempts: 2,
      reasons: [],
    });
    const inner = await inspect('GET', 'job', 200);
    expect(inner).toMatchObject({ title: 'GET /api/v1/notes/job', outcome: 'committed' });
  });

  it.each<[string, () => unknown]>([
    ['no text', () => []],
    [
      'an error',
      () => {
        throw new Error('of prepareStackTrace');
      },
    ],
  ])('O1: changes no answer where Error.prepareStackTrace gives %s', async (_what, prepare) => {
    await withPrepareStackTrace(prepare, async () => {
      const detail = await inspect('GET', `find/${SECRET}`, 200);
      const [, select] = detail.connections[0]!.transactions[0]!.rows;
      expect(select).toMatchObject({ kind: 'statement' });
      expect(select!.place).toBeUndefined();
    });
  });

  it('names no value where a backslash escapes a quote (standard_conforming_strings = off)', async () => {
    const detail = await inspect('GET', 'old-quotes', 200);
    expect(lines(detail).slice(2, -1)).toEqual(['statement: select ? [1]']);
  });

  it('names no value and none of its own requests, in the page, in the stream and in the details', async () => {
    // Express finds it by capital letters, Fastify by escapes.
    await Promise.all(
      ['/api/Admin/DB', '/api/admin/%64b'].map(async (path) => (await app.fetch(path)).text()),
    );
    const kept = [...new Set(stream.summaries.map(({ id }) => id))];
    expect(kept.length).toBeGreaterThan(8);
    const details = await Promise.all(
      kept.map(async (id) => (await app.fetch(`${BASE}/requests/${id}`)).text()),
    );
    const page = await (await app.fetch(BASE)).text();
    const all = [page, ...stream.texts, ...details].join('\n');
    expect(all).not.toContain(SECRET);
    expect(stream.summaries.filter(({ title }) => /admin/i.test(title))).toEqual([]);
  });

  it('answers with a strict policy and no CORS headers, also at a slash at the end', async () => {
    const answer = await app.fetch(`${BASE}/page.js`, { headers: { origin: app.url } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(answer.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; script-src 'self'/,
    );
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control-'))).toEqual(
      [],
    );
    for (const [path, method, headers] of [
      [`${BASE}/requests/999999`, 'GET', {}],
      [`${BASE}/stream`, 'GET', { 'x-closed': '1' }],
      [BASE, 'OPTIONS', { 'access-control-request-method': 'GET' }],
    ] as const) {
      const refused = await app.fetch(path, { method, headers: { origin: app.url, ...headers } });
      expect([...refused.headers.keys()].filter((name) => name.startsWith('access-'))).toEqual([]);
    }
    const page = await app.fetch(BASE);
    expect(await page.text()).toContain('src="db/page.js"');
    const slashed = await app.fetch(`${BASE}/`, { redirect: 'manual' });
    expect([slashed.status, slashed.headers.get('location')]).toEqual([302, '../db']);
    expect((await app.fetch(`${BASE}/no-such-file`)).status).toBe(404);
    expect((await app.fetch(`${BASE}/requests/999999`)).status).toBe(404);
  });

  it('is behind its guard, and refuses other origins, other sites and unknown names', async () => {
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await ask(`${app.url}${BASE}/requests/1`, headers)).status;
    expect(await status({ 'x-closed': '1' })).toBe(403);
    expect(await status({ origin: 'https://evil.example' })).toBe(403);
    expect(await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' })).toBe(403);
    expect(await status({ host: 'evil.example' })).toBe(403);
    expect(await status({ host: 'localhost:3000' })).not.toBe(403);
    const { body } = await ask(`${app.url}${BASE}`, { host: 'evil.example:3000' });
    expect(body).toContain('not shown by the name evil.example');
  });

  it('H3: closes with the application, whose pages would keep it open', async () => {
    isClosed = true;
    await app.close();
    await waitFor(() => stream.ended, { what: 'the stream to end' });
  });
});

describe('O1: what fails in the inspector', () => {
  it.each<AdapterName>(['express', 'fastify'])(
    'costs no request, and is one warning, over %s',
    async (adapter) => {
      const logger = new LogRecorder();
      const configure = (nest: INestApplication): void => nest.useLogger(logger);
      const app = await startInspectedApp({ adapter, configure });
      const whole = Object.getOwnPropertyDescriptor(RequestLog.prototype, 'changed')!;
      let calls = 0;
      RequestLog.prototype.changed = () => {
        calls++;
        throw new Error('no room');
      };
      try {
        const saved = await app.fetch('/notes/both', { method: 'POST' });
        expect(saved.status).toBe(201);
        const found = await app.fetch(`/notes/find/${SECRET} in one`);
        expect(await found.json()).toHaveLength(1);
        const refused = await app.fetch('/notes/refused', { method: 'POST' });
        expect(refused.status).toBe(409);
        await setImmediate();
        expect(calls).toBeGreaterThan(20);
      } finally {
        Object.defineProperty(RequestLog.prototype, 'changed', whole);
        await app.close();
      }
      const ofInspector = logger.lines.filter(
        ({ level, context }) => level !== 'log' && context === 'DbContextInspectorModule',
      );
      expect(ofInspector.map(({ message }) => message)).toEqual([
        expect.stringMatching(/^The inspector is at /),
        expect.stringMatching(
          /^The inspector could not record a part .*Error: no room\..*later ones are not reported\.\n +at /s,
        ),
      ]);
    },
  );
});
