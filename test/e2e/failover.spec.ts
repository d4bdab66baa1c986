import { setImmediate } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Catch,
  Controller,
  Param,
  Post,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { Response as ExpressResponse } from 'express';
import { InjectSession, NoPrimaryError } from 'nestjs-db-context';
import { dbContextChannels, type FailoverEvent } from 'nestjs-db-context/telemetry';
import { Client, type QueryResultRow } from 'pg';

import { Cluster } from '../../sample/starter/cluster.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const CLIENTS = 8;
const POOL = 5;

/** The outcome of one request; times are those of `performance.now()`. */
interface Outcome {
  readonly text: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

@Controller()
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('notes/:text')
  async save(@Param('text') text: string): Promise<void> {
    this.session.persist(new Note(text));
    await this.session.flush();
    await this.session.execute('select 1');
  }
}

/** Sends clients the errors that would otherwise only be in the log. */
@Catch()
class TellingFilter implements ExceptionFilter {
  catch(error: Error & { readonly code?: string }, host: ArgumentsHost): void {
    const { code, message } = error;
    const status = error instanceof NoPrimaryError ? 503 : 500;
    host.switchToHttp().getResponse<ExpressResponse>().status(status).json({ code, message });
  }
}

async function query<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

const hostOf = (url: string): string => new URL(url).host;

describe('failover of a real cluster', () => {
  let cluster: Cluster;
  let primaryUrl: string;
  let standbyUrl: string;
  let app: TestApp | undefined;
  let stopRecording: (() => void) | undefined;

  beforeEach(async () => {
    cluster = await Cluster.start({ isSynchronous: true });
    ({ primaryUrl } = cluster);
    [standbyUrl] = cluster.standbyUrls as [string];
    await query(primaryUrl, NOTE_SCHEMA);
  }, 60_000);
  afterEach(async () => {
    stopRecording?.();
    stopRecording = undefined;
    const left = app?.pool();
    await app?.close();
    app = undefined;
    await cluster.stop();
    expect(left).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  async function start(cacheMs = 60_000, clientUrl = primaryUrl): Promise<TestApp> {
    app = await startApp({
      connections: [
        noteConnection(clientUrl, {
          poolMax: POOL,
          failover: { hosts: [hostOf(primaryUrl), hostOf(standbyUrl)], cacheMs },
        }),
      ],
      controllers: [NotesController],
      providers: [{ provide: APP_FILTER, useClass: TellingFilter }],
    });
    return app;
  }

  const save = (text: string): Promise<unknown> =>
    app!.dbContext.run(() => app!.session().insert(Note, { text }));

  const textsOn = async (url: string): Promise<string[]> =>
    (await query<{ text: string }>(url, 'select text from note order by text')).map(
      ({ text }) => text,
    );

  /** Requests one after another from each client, until it is stopped. */
  function load(outcomes: Outcome[]): () => Promise<void> {
    const state = { isOver: false };
    const client = async (number: number): Promise<void> => {
      for (let turn = 0; !state.isOver; turn++) {
        const text = `${number}-${turn}`;
        const startedAt = performance.now();
        const response = await app!.fetch(`/notes/${text}`, { method: 'POST' });
        const body = await response.text();
        const endedAt = performance.now();
        const { code = '', message = '' } = (
          body === '' ? {} : JSON.parse(body)
        ) as Partial<Outcome>;
        outcomes.push({ text, startedAt, endedAt, status: response.status, code, message });
        await setImmediate();
      }
    };
    const clients = Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
    return async () => {
      state.isOver = true;
      await clients;
    };
  }

  it('Failover under constant load: requests fail only between the kill and the promotion, with a clear error; nothing acknowledged (2xx) is missing on the new primary; no pool slot is lost; no restart', async () => {
    const { connection, pool } = await start();
    const outcomes: Outcome[] = [];
    const stop = load(outcomes);
    const failures = (): Outcome[] => outcomes.filter(({ status }) => status !== 201);
    const acknowledged = (): Outcome[] => outcomes.filter(({ status }) => status === 201);
    await waitFor(() => acknowledged().length >= 200, { what: 'the load' });
    expect(failures()).toEqual([]);
    expect(connection().host).toBe(hostOf(primaryUrl));

    const killedAt = performance.now();
    await cluster.kill('primary');
    await waitFor(() => failures().filter(({ status }) => status === 503).length >= 40, {
      what: 'requests without a primary',
    });
    const beforePromotion = acknowledged().length;
    await cluster.promote(0);
    const promotedAt = performance.now();
    await waitFor(() => acknowledged().length >= beforePromotion + 200, {
      what: 'the load on the new primary',
    });
    await stop();

    const failed = failures();
    expect(failed.filter(({ endedAt }) => endedAt < killedAt)).toEqual([]);
    expect(failed.filter(({ startedAt }) => startedAt > promotedAt)).toEqual([]);
    // The requests in flight when the primary died, those that met its closed port, and those after them.
    const codes = failed.map(({ code }) => code);
    const clear =
      /^(NO_PRIMARY|CONNECTION_FAILED|COMMIT_OUTCOME_UNKNOWN|UNEXPECTED_ROLLBACK|TRANSACTION_ABORTED|57P0[123]|ECONNRESET|EPIPE)?$/;
    expect(codes).not.toEqual([]);
    expect(codes.filter((code) => !clear.test(code))).toEqual([]);
    expect(failed.filter(({ message }) => message === '')).toEqual([]);
    expect(failed.filter(({ code }) => code !== 'NO_PRIMARY').length).toBeLessThan(CLIENTS * 4);

    const saved = new Set(await textsOn(standbyUrl));
    expect(acknowledged().filter(({ text }) => !saved.has(text))).toEqual([]);
    expect(connection().host).toBe(hostOf(standbyUrl));
    expect(pool()).toMatchObject({ size: POOL, checkedOut: 0, waiting: 0 });
    const all = await Promise.all(
      Array.from({ length: POOL }, () =>
        connection().checkOut({ holder: undefined, isBusy: true }),
      ),
    );
    all.forEach((client) => client.release());
  }, 60_000);

  it('of two that claim to be primary the one that was promoted later wins, and nobody goes back to the old one', async () => {
    const { connection } = await start(1);
    await save('before');
    await cluster.kill('primary');
    await cluster.promote(0);
    await save('on the new primary');
    // It knows nothing of the promotion.
    await cluster.restart('primary');
    await save('while both are up');
    expect(connection().host).toBe(hostOf(standbyUrl));
    // An application that is started now, and has never heard of the new one.
    const { host, names } = await onFreshApp();
    expect([host, names]).toEqual([hostOf(standbyUrl), 'while both are up, too']);

    await cluster.kill(0);
    const error = await waitForNoPrimary();
    expect(error.answers).toMatchObject([
      { host: hostOf(primaryUrl), role: 'primary', timeline: '00000001' },
      { host: hostOf(standbyUrl), role: 'unknown' },
    ]);
    expect(error.message).toContain('a primary of timeline 00000001, behind timeline 00000002');
    expect(await textsOn(primaryUrl)).toEqual(['before']);
    await cluster.restart(0);
    await save('back');
    // Somebody who goes there by hand is taken to mean it.
    await cluster.kill(0);
    await connection().changeHost(hostOf(primaryUrl));
    // The server is only read: a COMMIT on it would wait for a standby.
    expect(await app!.dbContext.run(() => app!.session().count(Note))).toBe(1);
    expect(connection().host).toBe(hostOf(primaryUrl));
  }, 60_000);

  async function onFreshApp(): Promise<{ host: string; names: string }> {
    const former = app!;
    const fresh = await start();
    await save('while both are up, too');
    const { host } = fresh.connection();
    await fresh.close();
    app = former;
    return { host, names: (await textsOn(standbyUrl)).at(-1)! };
  }

  /** What is published of searches for the primary, until the end of the test. */
  function recordSearches(): FailoverEvent[] {
    const searches: FailoverEvent[] = [];
    const listener = (event: FailoverEvent): void => void searches.push(event);
    dbContextChannels.failover.subscribe(listener);
    stopRecording = () => dbContextChannels.failover.unsubscribe(listener);
    return searches;
  }

  async function waitForNoPrimary(): Promise<NoPrimaryError> {
    let refusal: NoPrimaryError | undefined;
    await waitFor(
      async () => {
        const error: unknown = await save('nowhere').catch((reason: unknown) => reason);
        refusal = error instanceof NoPrimaryError ? error : undefined;
        return refusal !== undefined;
      },
      { what: 'the new primary to be missed' },
    );
    return refusal!;
  }

  it('O1: a write that meets a standby (25006) fails, and the next transaction is on the primary; each search for it is published', async () => {
    const { connection, fetch } = await start();
    const searches = recordSearches();
    expect((await fetch('/notes/a', { method: 'POST' })).status).toBe(201);
    // As if the server in use had become a standby: nothing is lost, and nothing refused.
    await connection().changeHost(hostOf(standbyUrl));
    const refused = await fetch('/notes/b', { method: 'POST' });
    expect([refused.status, await refused.json()]).toMatchObject([500, { code: '25006' }]);
    expect((await fetch('/notes/c', { method: 'POST' })).status).toBe(201);
    expect(connection().host).toBe(hostOf(primaryUrl));
    expect(await textsOn(primaryUrl)).toEqual(['a', 'c']);
    // The answer of the server that is not the primary is not waited for.
    expect(searches).toHaveLength(2);
    expect(searches).toMatchObject(
      searches.map(() => ({
        connection: { name: 'default' },
        primary: hostOf(primaryUrl),
        answers: [{ host: hostOf(primaryUrl), role: 'primary' }, { host: hostOf(standbyUrl) }],
        durationMs: expect.any(Number) as number,
      })),
    );
  });

  it('O1: a standby that is up is no primary, which is published', async () => {
    await start(60_000, standbyUrl);
    await cluster.kill('primary');
    const searches = recordSearches();
    const error = await save('a').catch((reason: unknown) => reason as NoPrimaryError);
    expect((error as NoPrimaryError).answers).toMatchObject([
      { host: hostOf(primaryUrl), role: 'unknown', error: { code: 'ECONNREFUSED' } },
      { host: hostOf(standbyUrl), role: 'standby' },
    ]);
    expect((error as NoPrimaryError).message).toContain(`${hostOf(standbyUrl)}: standby)`);
    expect(searches).toMatchObject([
      {
        primary: undefined,
        answers: [
          { host: hostOf(primaryUrl), role: 'unknown', error: { code: 'ECONNREFUSED' } },
          { host: hostOf(standbyUrl), role: 'standby', error: undefined },
        ],
      },
    ]);
  });
});
