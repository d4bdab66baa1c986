import { AbstractSqlConnection, MikroORM } from '@mikro-orm/postgresql';

import type { KyselyClient, KyselyConstructor } from '../../lib/session/kysely-shapes.js';
import { observedKysely } from '../../lib/session/observed-kysely.js';
import { Note } from '../support/note.entity.js';

/** What an application does with the Kysely instance of a connection. */
interface CopiedKysely {
  deleteFrom(table: string): {
    execute(): Promise<unknown>;
    compile(): object;
    stream(): AsyncIterableIterator<unknown>;
  };
  withPlugin(plugin: object): CopiedKysely;
  withSchema(name: string): CopiedKysely;
  withoutPlugins(): CopiedKysely;
  executeQuery(query: object): Promise<unknown>;
  transaction(): { execute(work: (trx: CopiedKysely) => Promise<unknown>): Promise<unknown> };
}

// What lib/session/kysely-shapes.ts takes for granted of Kysely and of MikroORM's use of it. A
// failure here after an upgrade means that the library must be looked at, not this file.
describe('the part of Kysely and MikroORM that the library stands on', () => {
  let orm: MikroORM;
  let client: KyselyClient;

  beforeAll(async () => {
    // Nothing listens on this port.
    orm = await MikroORM.init({
      dbName: 'unused',
      port: 1,
      ensureDatabase: false,
      entities: [Note],
    });
    client = (
      orm.em.getConnection() as AbstractSqlConnection
    ).getClient() as unknown as KyselyClient;
  });

  afterAll(() => orm.close());

  it('an executor takes another connection provider, and sends everything through it', async () => {
    const seen: unknown[] = [];
    const executor = client.getExecutor().withConnectionProvider({
      provideConnection: (consumer) =>
        consumer({
          executeQuery: (statement) => {
            seen.push(statement.sql);
            return Promise.resolve({ rows: [{ one: 1 }] });
          },
          streamQuery: () => {
            throw new Error('not used');
          },
          collectSessionInfo: () => Promise.resolve(),
          cancelQuery: () => Promise.resolve(),
          killSession: () => Promise.resolve(),
        }),
    });
    const dialect = {
      createAdapter: () => executor.adapter,
      createIntrospector: () => client.introspection,
    };
    const Kysely = client.constructor as KyselyConstructor;
    const kysely = new Kysely({
      config: { dialect },
      dialect,
      driver: {},
      executor,
    }) as unknown as {
      executeQuery(statement: unknown): Promise<{ rows: unknown[] }>;
      selectFrom(table: string): { selectAll(): { execute(): Promise<unknown[]> } };
    };
    expect(await kysely.selectFrom('note').selectAll().execute()).toEqual([{ one: 1 }]);
    const fork = orm.em.fork();
    fork.setTransactionContext(kysely);
    await fork.execute('select 1');
    await fork.find(Note, {});
    expect(seen).toEqual(['select * from "note"', 'select 1', 'select "n0".* from "note" as "n0"']);
  });

  it('a copy with another executor sends everything through it, and nothing is left at the original', async () => {
    const seen: string[] = [];
    const own = client.getExecutor();
    const properties = Reflect.ownKeys(own);
    const observed = observedKysely(client, (text) => seen.push(text)) as unknown as CopiedKysely;
    expect(observed).toBeInstanceOf(client.constructor);
    expect(client.getExecutor()).toBe(own);
    expect(Reflect.ownKeys(own)).toEqual(properties);
    const plugin = {
      transformQuery: ({ node }: { readonly node: object }) => node,
      transformResult: ({ result }: { readonly result: object }) => result,
    };
    const sends = [
      () => observed.deleteFrom('a').execute(),
      () => observed.withPlugin(plugin).deleteFrom('b').execute(),
      () => observed.withSchema('s').deleteFrom('c').execute(),
      () => observed.withoutPlugins().deleteFrom('d').execute(),
      () => observed.executeQuery(observed.deleteFrom('e').compile()),
      () => observed.deleteFrom('f').stream().next(),
    ];
    for (const send of sends) {
      await expect(send()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    }
    expect(seen).toEqual([
      'delete from "a"',
      'delete from "b"',
      'delete from "s"."c"',
      'delete from "d"',
      'delete from "e"',
      'delete from "f"',
    ]);
    const begun = observed.transaction().execute((trx) => trx.deleteFrom('g').execute());
    await expect(begun).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(seen).toHaveLength(sends.length);
  });

  it('every method of the EntityManager asks for the context first', async () => {
    const Base = orm.em.constructor as new (...args: unknown[]) => typeof orm.em;
    let asked = 0;
    let isConstructed = false;
    class Probe extends Base {
      override getContext(): this {
        if (!isConstructed) {
          return this;
        }
        asked++;
        throw new Error('asked');
      }
    }
    const probe = new Probe(
      orm.config,
      orm.driver,
      orm.getMetadata(),
      true,
      orm.em.getEventManager(),
    );
    isConstructed = true;
    const note = orm.em.fork().create(Note, { text: 'a' });
    const calls: (() => unknown)[] = [
      () => probe.find(Note, {}),
      () => probe.findOne(Note, 1),
      () => probe.count(Note),
      () => probe.insert(Note, { text: 'a' }),
      () => probe.nativeUpdate(Note, {}, {}),
      () => probe.nativeDelete(Note, {}),
      () => probe.upsert(Note, { text: 'a' }),
      () => probe.create(Note, { text: 'a' }),
      () => probe.getReference(Note, 1),
      () => probe.persist(note),
      () => probe.remove(note),
      () => probe.flush(),
      () => probe.clear(),
      () => probe.refresh(note),
      () => probe.fork(),
      () => probe.begin(),
      () => probe.commit(),
      () => probe.rollback(),
      () => probe.transactional(async () => undefined),
      () => probe.createQueryBuilder(Note),
      () => probe.getKysely(),
      () => probe.execute('select 1'),
      () => probe.isInTransaction(),
      () => probe.getTransactionContext(),
      () => probe.stream(Note)[Symbol.asyncIterator]().next(),
    ];
    for (const call of calls) {
      await expect((async () => call())()).rejects.toThrow('asked');
    }
    expect(asked).toBe(calls.length);
  });
});
