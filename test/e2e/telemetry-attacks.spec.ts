import { TransactionPropagation } from '@mikro-orm/postgresql';
import {
  dbContextChannels,
  type PoolReleaseEvent,
  type StatementEvent,
} from 'nestjs-db-context/telemetry';

import { deferred } from '../support/deferred.js';
import { endLeftoverSubscriptions } from '../support/leftover-subscribers.js';
import { Note } from '../support/note.entity.js';
import { recordTelemetry } from '../support/telemetry-recorder.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

beforeAll(endLeftoverSubscriptions);
const at = useWorld(() => startWorld({ poolMax: 2 }, { watch: false }), { hasLateWork: true });
const { contextEnd, poolRelease, statement, transactionEnd } = dbContextChannels;

describe('O1: a subscriber', () => {
  it('that comes and goes in the midst of a transaction sees the rest, and changes nothing', async () => {
    const sent: StatementEvent[] = [];
    const listener = (event: StatementEvent): void => void sent.push(event);
    await at.run(async () => {
      await at.insert('before');
      statement.asyncEnd.subscribe(listener);
      await at.insert('meanwhile');
      statement.asyncEnd.unsubscribe(listener);
      await at.insert('after');
    });
    expect(sent.map(({ sql, rows }) => [sql, rows])).toEqual([
      ['insert into "note" ("text") values (?) returning "id"', 1],
    ]);
    expect(sent[0]!.transaction).toMatchObject({ startedAt: undefined });
    expect(await at.world.savedTexts()).toEqual(['before', 'meanwhile', 'after']);
  });

  it('that opens a context and a transaction of its own is in none of those that it hears of', async () => {
    const seen: Promise<string>[] = [];
    let isOwn = false;
    const listener = ({ kind }: StatementEvent): void => {
      if (!isOwn && kind === 'commit') {
        isOwn = true;
        seen.push(at.dbContext.runInNewContext(async () => at.xid()));
        isOwn = false;
      }
    };
    let outer = '';
    statement.start.subscribe(listener);
    try {
      await at.run(async () => {
        outer = await at.xid();
      });
    } finally {
      statement.start.unsubscribe(listener);
    }
    expect(seen.length).toBeGreaterThan(0);
    for (const xid of await Promise.all(seen)) {
      expect(xid).not.toBe(outer);
    }
  });

  it('learns of no end of a savepoint that the server has not set', async () => {
    const recorder = recordTelemetry();
    try {
      const error: unknown = await at
        .run(async () => {
          await at.session.execute('select 1 / 0').catch(() => undefined);
          await at.session.transactional(() => at.insert('never'));
        })
        .catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'TRANSACTION_ABORTED' });
      await at.run(() => at.session.transactional(() => at.insert('saved')));
    } finally {
      recorder.stop();
    }
    const ofSavepoints = recorder.lines.filter((line) => line.startsWith('savepoint:'));
    expect(ofSavepoints).toEqual(['savepoint:set t2 trx1', 'savepoint:end t2 trx1 committed']);
    expect(await at.world.savedTexts()).toEqual(['saved']);
  });

  it('learns of a connection that is closed, also where the status of it comes after the error', async () => {
    const releases: PoolReleaseEvent[] = [];
    const keep = (event: PoolReleaseEvent): void => void releases.push(event);
    const ready = deferred();
    at.world.proxy.onErrorAnswer = () => ready.promise;
    poolRelease.subscribe(keep);
    try {
      await at.run(() =>
        at.session.transactional(
          async (em) => {
            const failed = em.execute('begin; select 1 / 0');
            await expect(failed).rejects.toMatchObject({ code: '22012' });
            ready.resolve();
          },
          { propagation: TransactionPropagation.NOT_SUPPORTED },
        ),
      );
      await waitFor(() => releases.length > 0, { what: 'the connection to be given up' });
    } finally {
      poolRelease.unsubscribe(keep);
    }
    expect(releases.map(({ isDestroyed }) => isDestroyed)).toEqual([true]);
  });
});

describe('O1: a value that is a secret', () => {
  const SECRET = 'sesame';
  const TEXTS = [
    `select '${SECRET}'`,
    `select E'it\\'s ${SECRET}'`,
    `select $a$${SECRET}$a$, $$${SECRET}$$`,
    `do $do$ declare secret text := 'ses' || 'ame'; begin raise exception 'no %', secret using errcode = '40001'; end $do$`,
    `select '${SECRET}'::regclass`,
    `select pg_read_file('${SECRET}')`,
    `select set_config('${SECRET}', '', true)`,
    `do $do$ begin perform '${SECRET}'; end $do$`,
    `select '{"a":{"b":"${SECRET}"}}'::jsonb #>> '{a,${SECRET}}'`,
    `select set_config('app.user', '${SECRET}', true)`,
    `set local app.user = '${SECRET}'`,
    `set local app.user to ${SECRET}`,
    `comment on table note is '${SECRET}'`,
    `select U&'\\0041${SECRET}', b'1', N'${SECRET}', 1 /* ${SECRET} */ -- ${SECRET}`,
    `select '${SECRET}'::int`,
    `select jsonb_path_query('{}', '$.${SECRET}')`,
  ];

  it.each(TEXTS)('is in no event of %s', async (sql) => {
    const shown: string[] = [];
    const show = (event: StatementEvent): void => {
      const { sql: text, texts, error } = event;
      shown.push(JSON.stringify([text, texts, error, event]));
    };
    statement.asyncEnd.subscribe(show);
    try {
      await at.run(() => at.session.execute(sql)).catch(() => undefined);
    } finally {
      statement.asyncEnd.unsubscribe(show);
    }
    expect(shown.length).toBeGreaterThan(0);
    expect(shown.join('\n')).not.toContain(SECRET);
  });

  it('is in none of a unique violation', async () => {
    const errors: unknown[] = [];
    const keep = (event: { readonly error: unknown }): void => void errors.push(event.error);
    statement.error.subscribe(keep);
    transactionEnd.subscribe(keep);
    contextEnd.subscribe(keep);
    try {
      await at.run(() => at.insert(SECRET));
      await at.run(() => at.session.insert(Note, { text: SECRET })).catch(() => undefined);
      await at
        .run(() => at.session.persist(new Note(SECRET)) && Promise.resolve())
        .catch(() => undefined);
    } finally {
      statement.error.unsubscribe(keep);
      transactionEnd.unsubscribe(keep);
      contextEnd.unsubscribe(keep);
    }
    expect(errors.filter(Boolean).length).toBeGreaterThan(3);
    expect(JSON.stringify(errors)).not.toContain(SECRET);
  });
});
