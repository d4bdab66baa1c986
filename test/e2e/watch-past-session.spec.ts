import { CreateRequestContext } from '@mikro-orm/decorators/legacy';
import { TransactionPropagation } from '@mikro-orm/core';
import {
  AbstractSqlConnection,
  defineConfig,
  MikroORM,
  type EntityManager,
} from '@mikro-orm/postgresql';
import { BadRequestException, Controller, Post } from '@nestjs/common';
import { DbContext, InjectConnection, InjectSession, type DbConnection } from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let hasAnswered: Deferred<void>;
let hasFlushed: Deferred<void>;

interface Tables {
  note: { text: string };
}

async function insertWith(em: EntityManager): Promise<void> {
  await em
    .getKysely<Tables>()
    .insertInto('note')
    .values({ text: `by Kysely ${Math.random()}` })
    .execute();
}

/** What is lost, or goes past the session: each of these is warned of. */
@Controller('warned')
class WarnedController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectConnection() private readonly connection: DbConnection,
  ) {}

  @Post('persisted')
  async persisted(): Promise<void> {
    this.connection.orm.em.fork().persist(new Note('lost'));
    await Promise.resolve();
  }

  @Post('changed')
  async changed(): Promise<void> {
    const fork = this.session.fork();
    const note = await fork.findOneOrFail(Note, { text: 'there' });
    note.text = 'lost';
  }

  @Post('inserted')
  async inserted(): Promise<void> {
    await this.connection.orm.em.fork().insert(Note, { text: `past ${Math.random()}` });
  }

  @Post('executed')
  async executed(): Promise<void> {
    await this.session
      .getConnection()
      .execute(`with past as (insert into note (text) values ('past') returning id) table past`);
  }

  @Post('kysely')
  async kysely(): Promise<void> {
    await insertWith(this.connection.orm.em.fork());
  }

  @Post('kysely-client')
  async kyselyClient(): Promise<void> {
    await this.session
      .getConnection()
      .getClient()
      .withSchema('public')
      .deleteFrom('note')
      .where('text', '=', 'gone')
      .execute();
  }

  @Post('schema')
  async schema(): Promise<void> {
    await this.connection.orm.schema.execute(`insert into note (text) values ('by the schema')`);
  }

  @Post('last')
  async last(): Promise<void> {
    this.session.fork().persist(new Note('lost'));
    await Promise.resolve();
  }
}

/** Ordinary ways to work with forks, and on the connection: none of these is warned of. */
@Controller('ordinary')
class OrdinaryController {
  readonly orm: MikroORM;

  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectConnection() connection: DbConnection,
    private readonly dbContext: DbContext,
  ) {
    this.orm = connection.orm;
  }

  @Post('session')
  async ofTheSession(): Promise<void> {
    this.session.persist(new Note('a'));
    await this.session.flush();
    await this.session.nativeUpdate(Note, { text: 'a' }, { text: 'b' });
    await this.session.execute(`insert into note (text) values ('c')`);
    await this.session.transactional((em) => em.insert(Note, { text: 'd' }), {
      propagation: TransactionPropagation.NOT_SUPPORTED,
    });
    await insertWith(this.session);
    await this.session.transactional(insertWith);
    this.session.persist(new Note('e'));
  }

  @Post('undone-part')
  async undonePart(): Promise<void> {
    for (const propagation of [
      TransactionPropagation.NESTED,
      TransactionPropagation.REQUIRES_NEW,
    ]) {
      const part = this.session.transactional(
        async (em) => {
          em.persist(new Note('undone'));
          await em.count(Note);
          throw new Error('undo');
        },
        { propagation, clear: true },
      );
      await part.catch(() => undefined);
    }
  }

  @Post('reads')
  async reads(): Promise<void> {
    const fork = this.orm.em.fork();
    await fork.find(Note, {});
    await fork.execute(`select 'insert into note' from note for update`);
    await fork.execute(`with x as (select 1) select 'delete from note' from x`);
    await fork.getKysely<Tables>().selectFrom('note').selectAll().execute();
    fork.getKysely<Tables>().deleteFrom('note').compile();
    await this.session.refresh(await this.session.findOneOrFail(Note, { text: 'there' }));
    await this.session.getConnection().execute('select 1');
    await this.orm.checkConnection();
  }

  @Post('copy')
  async copy(): Promise<void> {
    this.session.persist(new Note('of the session'));
    await this.session.fork({ clear: false }).count(Note);
  }

  @Post('flushed')
  async flushed(): Promise<void> {
    const fork = this.orm.em.fork();
    fork.persist(new Note('by a fork'));
    await fork.flush();
    await fork.transactional(async (em) => {
      await em.insert(Note, { text: 'in its transaction' });
      await insertWith(em);
    });
  }

  @Post('flushed-later')
  async flushedLater(): Promise<void> {
    const fork = this.orm.em.fork();
    fork.persist(new Note('later'));
    void hasAnswered.promise
      .then(() => this.dbContext.runInNewContext(() => fork.flush()))
      .then(hasFlushed.resolve);
    await Promise.resolve();
  }

  @Post('failed')
  async failed(): Promise<void> {
    this.session.fork().persist(new Note('given up'));
    await Promise.resolve();
    throw new BadRequestException();
  }

  @Post('sessions')
  async sessionsOfOurs(): Promise<void> {
    await this.dbContext.newAtomicSession((em) => em.insert(Note, { text: 'f' }));
    await this.dbContext.runInNewContext(() => this.session.insert(Note, { text: 'g' }));
    await this.inRequestContext();
  }

  @CreateRequestContext()
  async inRequestContext(): Promise<void> {
    await this.orm.em.insert(Note, { text: 'h' });
    this.orm.em.persist(new Note('i'));
    await this.orm.em.flush();
  }

  @Post('tools')
  async tools(): Promise<void> {
    await this.orm.schema.update({ safe: true });
  }
}

const log = new LogRecorder();
const warnings = (): string[] => log.ofLibrary('warn');
const limits = { contextOpenMs: 60_000, idleInTransactionMs: 60_000 };

describe('the watch, past the session', () => {
  let world: TestWorld;
  const post = async (path: string): Promise<number> =>
    (await world.fetch(path, { method: 'POST' })).status;

  beforeAll(async () => {
    world = await startWorld(
      {},
      { controllers: [WarnedController, OrdinaryController], watch: limits },
    );
    world.app.useLogger(log);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    log.lines.length = 0;
    hasAnswered = deferred();
    hasFlushed = deferred();
    await world.database.query('truncate note restart identity');
    await world.database.query(`insert into note (text) values ('there')`);
  });

  it('W2: names entities of a fork that were never flushed, once for a route', async () => {
    expect(await post('/warned/persisted')).toBe(201);
    expect(await post('/warned/persisted')).toBe(201);
    expect(await post('/warned/changed')).toBe(201);
    await waitFor(() => warnings().length > 1, { what: 'two warnings' });
    expect(warnings()).toEqual([
      expect.stringMatching(
        /^The context of WarnedController\.persisted .* fork .* never flushed.*\(Note\)/s,
      ),
      expect.stringMatching(
        /^The context of WarnedController\.changed .* fork .* never flushed.*\(Note\)/s,
      ),
    ]);
    expect(warnings()[0]).toMatch(/at .*WarnedController.*watch-past-session/);
    expect(warnings()[1]).toMatch(/at .*WarnedController.*watch-past-session/);
    expect(await world.savedTexts()).toEqual(['there']);
  });

  it('W2: names a statement that writes past the session, where it is sent', async () => {
    expect(await post('/warned/inserted')).toBe(201);
    expect(await post('/warned/inserted')).toBe(201);
    expect(await post('/warned/executed')).toBe(201);
    expect(warnings()).toEqual([
      expect.stringMatching(
        /^The context of WarnedController\.inserted sent .* past its session.*insert into "note"/s,
      ),
      expect.stringMatching(
        /^The context of WarnedController\.executed sent .* past its session.*with past as/s,
      ),
    ]);
    for (const warning of warnings()) {
      expect(warning).toMatch(/:\n +at .*WarnedController.*watch-past-session/);
    }
  });

  it.each([
    ['kysely', 'insert into "note"'],
    ['kysely-client', 'delete from "public"."note"'],
    ['schema', 'insert into note'],
  ])('W2: names what writes past the session otherwise than by MikroORM: %s', async (path, sql) => {
    expect(await post(`/warned/${path}`)).toBe(201);
    expect(warnings()).toEqual([expect.stringContaining(' past its session: ')]);
    expect(warnings()[0]).toContain(`The statement (${sql}`);
    expect(warnings()[0]).toMatch(/:\n +at .*watch-past-session/);
    expect(warnings()[0]).toMatch(/at .*WarnedController.*watch-past-session/);
  });

  it('says nothing of forks that are flushed, of reads, of tools and of sessions of its own', async () => {
    const statuses: [string, number][] = [];
    for (const path of [
      'session',
      'undone-part',
      'reads',
      'copy',
      'flushed',
      'failed',
      'sessions',
      'tools',
    ]) {
      statuses.push([path, await post(`/ordinary/${path}`)]);
    }
    statuses.push(['flushed-later', await post('/ordinary/flushed-later')]);
    hasAnswered.resolve();
    await hasFlushed.promise;
    expect(statuses.filter(([, status]) => status !== 201)).toEqual([['failed', 400]]);
    // Looks come in the order of the requests, so the last one is after all others.
    await post('/warned/last');
    await waitFor(() => warnings().length > 0, { what: 'a warning' });
    expect(warnings()).toEqual([expect.stringContaining('WarnedController.last')]);
    expect(await world.savedTexts()).toContain('later');
  });

  it('W2: names what an entity manager writes that was to stay the own one of MikroORM', async () => {
    const app = await startApp({
      watch: limits,
      connections: [
        {
          ...defineConfig({
            clientUrl: world.database.url,
            entities: [Note],
            allowGlobalContext: true,
          }),
          globalEntityManager: 'own',
        },
      ],
    });
    app.app.useLogger(log);
    await app.dbContext.run(async () => {
      const { em } = app.connection().orm;
      await em.persist(new Note('past')).flush();
    });
    await app.close();
    expect(warnings()).toEqual([
      expect.stringMatching(/^The context of dbContext.run\(\) sent .* past its session/),
    ]);
  });

  it("what is put into MikroORM's class after the start of the application is called", async () => {
    // oxlint-disable-next-line typescript/unbound-method -- it is called with its own receiver
    const { execute } = AbstractSqlConnection.prototype;
    let calls = 0;
    AbstractSqlConnection.prototype.execute = function counting(...args) {
      calls += 1;
      return execute.apply(this, args) as never;
    };
    try {
      expect(await post('/ordinary/reads')).toBe(201);
      expect(calls).toBeGreaterThan(0);
    } finally {
      AbstractSqlConnection.prototype.execute = execute;
    }
  });

  it('costs nothing where it is off, and nothing is left of it when the application is closed', async () => {
    const orm = await MikroORM.init(
      defineConfig({ clientUrl: world.database.url, entities: [Note] }),
    );
    const connection = orm.em.getConnection('write');
    const client = connection.getClient();
    const isTapped = (): boolean =>
      Object.hasOwn(connection, 'execute') || connection.getClient() !== client;
    const off = await startApp({ watch: false, connections: [{ orm }] });
    expect(isTapped()).toBe(false);
    const [one, other] = [
      await startApp({ watch: true, connections: [{ orm }] }),
      await startApp({ watch: true, connections: [{ orm }] }),
    ];
    expect(isTapped()).toBe(true);
    await one.close();
    expect(isTapped()).toBe(true);
    await other.close();
    expect(isTapped()).toBe(false);
    await off.close();
    await orm.close();
  });
});
