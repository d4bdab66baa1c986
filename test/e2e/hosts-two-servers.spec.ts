import { setImmediate } from 'node:timers/promises';

import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Param, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { Cluster } from '../../sample/starter/cluster.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const REQUESTS = 200;
/** Number of requests in the middle of their transaction when the host is changed. */
const HELD = 3;
const APPLICATION = 'hosts_two_servers';

let changed: Deferred<void>;
let begun: number;

@Controller()
class TwoNotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('notes/:id')
  async save(@Param('id') id: string): Promise<void> {
    await this.session.insert(Note, { text: `${id} first` });
    begun++;
    await (Number(id) < HELD ? changed.promise : setImmediate());
    await this.session.insert(Note, { text: `${id} second` });
  }
}

describe('two servers', () => {
  let second: Cluster;
  let one: TestDatabase;
  let two: TestDatabase;

  beforeAll(async () => {
    second = await Cluster.start({ standbys: 0 });
    [one, two] = await Promise.all([createTestDatabase(), createTestDatabase(second.primaryUrl)]);
    await Promise.all([one.query(NOTE_SCHEMA), two.query(NOTE_SCHEMA)]);
  }, 60_000);

  afterAll(async () => {
    await Promise.all([one.drop(), two.drop()]);
    await second.stop();
  });

  beforeEach(async () => {
    await Promise.all([one.query('truncate note'), two.query('truncate note')]);
    changed = deferred();
    begun = 0;
  });

  const connectionsOf = (database: TestDatabase): Promise<unknown[]> =>
    database.query('select pid, state, query from pg_stat_activity where application_name = $1', [
      APPLICATION,
    ]);

  const isLeft = (database: TestDatabase): Promise<void> =>
    waitFor(async () => (await connectionsOf(database)).length === 0, {
      what: 'the old server to have no connection left',
    });

  /** Transactions that wrote notes, each with the texts of its notes. */
  const transactionsOn = async (database: TestDatabase): Promise<string[]> =>
    (
      await database.query<{ texts: string }>(
        `select string_agg(text, ', ' order by text) as texts from note group by xid`,
      )
    ).map(({ texts }) => texts);

  it(`H1: ${REQUESTS} requests in flight over a host switch: none fails, each lands whole on one of the two servers, and the old server has no connection left afterwards`, async () => {
    const app = await startApp({
      connections: [noteConnection(one.url, { applicationName: APPLICATION })],
      controllers: [TwoNotesController],
    });
    const requests = Array.from({ length: REQUESTS }, (_, id) =>
      app.fetch(`/notes/${id}`, { method: 'POST' }),
    );
    await waitFor(() => begun > REQUESTS / 10, { what: 'some of the requests' });
    expect(begun).toBeLessThan(REQUESTS);
    const pool = await app.connection().pool();
    await app.connection().changeHost(two.url);
    expect(pool.waitingCount).toBe(0);
    changed.resolve();

    const statuses = (await Promise.all(requests)).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 201)).toEqual([]);
    await isLeft(one);

    const [onOne, onTwo] = await Promise.all([transactionsOn(one), transactionsOn(two)]);
    expect([...onOne, ...onTwo].toSorted()).toEqual(
      Array.from({ length: REQUESTS }, (_, id) => `${id} first, ${id} second`).toSorted(),
    );
    // Requests that had begun on the old host stayed there; those that waited or came later went to the new one.
    expect(onOne).toEqual(expect.arrayContaining(['0 first, 0 second', '2 first, 2 second']));
    expect(onTwo.length).toBeGreaterThan(0);
    expect(await connectionsOf(two)).not.toEqual([]);
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    await app.close();
    await isLeft(two);
  });

  it('H1: back and forth under load: none fails, and no connection is left behind', async () => {
    const app = await startApp({
      connections: [noteConnection(one.url, { applicationName: APPLICATION })],
      controllers: [TwoNotesController],
    });
    changed.resolve();
    const requests = Array.from({ length: REQUESTS }, (_, id) =>
      app.fetch(`/notes/${id}`, { method: 'POST' }),
    );
    for (let turn = 1; turn <= 10; turn++) {
      await waitFor(() => begun > (turn * REQUESTS) / 15, { what: 'some of the requests' });
      await app.connection().changeHost(turn % 2 === 1 ? two.url : one.url);
    }
    await app.connection().changeHost(two.url);
    const statuses = (await Promise.all(requests)).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 201)).toEqual([]);
    await isLeft(one);
    const [onOne, onTwo] = await Promise.all([transactionsOn(one), transactionsOn(two)]);
    expect(onOne.length + onTwo.length).toBe(REQUESTS);
    expect([...onOne, ...onTwo].every((texts) => /^(\d+) first, \1 second$/.test(texts))).toBe(
      true,
    );
    await app.close();
    await isLeft(two);
  });

  describe('with an orm that was handed over', () => {
    let orm: MikroORM;
    let app: TestApp;

    beforeEach(async () => {
      orm = await MikroORM.init(
        defineConfig({
          clientUrl: one.url,
          entities: [Note],
          driverOptions: { application_name: APPLICATION },
        }),
      );
      app = await startApp({ connections: [{ orm }] });
    });

    const save = (text: string): Promise<unknown> =>
      app.dbContext.run(() => app.session().insert(Note, { text }));

    it('H1: it changes hosts as well, and stays the application’s', async () => {
      await save('old');
      await orm.em.fork().insert(Note, { text: 'old, past a session' });
      await app.connection().changeHost(two.url);
      await save('new');
      await orm.em.fork().insert(Note, { text: 'new, past a session' });
      await isLeft(one);
      await app.close();
      await orm.em.fork().insert(Note, { text: 'after the application' });
      await orm.close(true);
      await isLeft(two);
      expect([await transactionsOn(one), (await transactionsOn(two)).toSorted()]).toEqual([
        ['old', 'old, past a session'],
        ['after the application', 'new', 'new, past a session'],
      ]);
    });

    it('H1: it does so before anything was asked of it, and of a server that is gone', async () => {
      await app.connection().changeHost('127.0.0.1:1');
      await expect(save('nowhere')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
      await app.connection().changeHost(two.url);
      await save('new');
      expect(await transactionsOn(two)).toEqual(['new']);
      await app.close();
      await orm.close(true);
    });

    it('H1: reconnecting it leads back to its own host', async () => {
      await app.connection().changeHost(two.url);
      await save('new');
      expect(app.connection().host).toBe(new URL(two.url).host);
      await orm.reconnect();
      await save('old');
      expect(app.connection().host).toBe(new URL(one.url).host);
      expect([await transactionsOn(one), await transactionsOn(two)]).toEqual([['old'], ['new']]);
      await app.connection().changeHost(two.url);
      await save('new again');
      expect(await transactionsOn(two)).toHaveLength(2);
      await isLeft(one);
      await app.close();
      await orm.close(true);
    });
  });
});
