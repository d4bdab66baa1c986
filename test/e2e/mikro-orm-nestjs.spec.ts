import {
  EntityManager as CoreEntityManager,
  EntitySchema,
  MikroORM as CoreMikroORM,
} from '@mikro-orm/core';
import {
  getEntityManagerToken,
  getMikroORMToken,
  getRepositoryToken as getTheirRepositoryToken,
  InjectEntityManager,
  InjectMikroORM,
  InjectRepository as InjectTheirRepository,
  MikroOrmModule,
} from '@mikro-orm/nestjs';
import {
  defineConfig,
  defineEntity,
  EntityManager,
  EntityRepository,
  MikroORM,
  p,
  type Options,
} from '@mikro-orm/postgresql';
import {
  Controller,
  Get,
  Injectable,
  Module,
  Scope,
  UseGuards,
  type CanActivate,
  type DynamicModule,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DbContext,
  DbContextModule,
  getConnectionToken,
  getRepositoryToken,
  getSessionToken,
  InjectRepository,
  type DbConnection,
  type DbContextModuleAsyncOptions,
  type DbContextModuleOptions,
  type DbContextOptionsFactory,
} from 'nestjs-db-context';

import {
  ADOPTED_SCHEMA,
  Entry,
  Publisher,
  PublisherRepository,
  Title,
} from '../support/adopted-app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

class WordRepository extends EntityRepository<InstanceType<typeof Word>> {
  async add(text: string): Promise<void> {
    await this.insert({ text });
  }
}

const WordSchema = defineEntity({
  name: 'Word',
  tableName: 'entry',
  repository: () => WordRepository as never,
  properties: { id: p.integer().primary(), text: p.text() },
});
class Word extends WordSchema.class {}
WordSchema.setClass(Word);

let database: TestDatabase;
const apps: INestApplication[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(ADOPTED_SCHEMA);
});
afterAll(() => database.drop());
beforeEach(() => database.query('truncate publisher, title, entry restart identity'));
afterEach(async () => {
  for (const app of apps.splice(0)) {
    await app.close();
  }
  MikroOrmModule.clearStorage();
  MikroOrmModule.clearStorage('audit');
});

const config = (options: Partial<Options> = {}): Options =>
  defineConfig({
    clientUrl: database.url,
    ensureDatabase: false,
    pool: { min: 0, max: 5 },
    ...options,
  }) as Options;

const start = async (...imports: unknown[]): Promise<INestApplication> => {
  const testing = await Test.createTestingModule({ imports: imports as DynamicModule[] }).compile();
  const app = testing.createNestApplication({ logger: false });
  await app.init();
  apps.push(app);
  return app;
};
const xid = async (em: CoreEntityManager): Promise<string> => {
  const [row] = await (em as EntityManager).execute<{ xid: string }[]>(
    'select pg_current_xact_id()::text as xid',
  );
  return row!.xid;
};
const entries = async (): Promise<string[]> =>
  (await database.query<{ text: string }>('select text from entry order by id')).map(
    ({ text }) => text,
  );
const get = <T>(app: INestApplication, token: Type<T>): T => app.get(token, { strict: false });
const run = <T>(app: INestApplication, work: () => Promise<T>): Promise<T> =>
  app.get(DbContext).run(work);
const feature = (imports: unknown[], ...providers: Type[]): DynamicModule => {
  // Each is a module of its own, as Nest tells modules apart by their classes.
  class FeatureModule {
    readonly isFeature = true;
  }
  Module({})(FeatureModule);
  return { module: FeatureModule, imports: imports as DynamicModule[], providers };
};

@Injectable()
class EveryWay {
  constructor(
    readonly core: CoreMikroORM,
    readonly orm: MikroORM,
    readonly coreEm: CoreEntityManager,
    readonly em: EntityManager,
    @InjectMikroORM('audit') readonly auditOrm: MikroORM,
    @InjectEntityManager('audit') readonly auditEm: EntityManager,
  ) {}
}

@Injectable()
class EveryRepository {
  constructor(
    readonly byClass: PublisherRepository,
    @InjectRepository(Publisher) readonly ours: PublisherRepository,
    @InjectTheirRepository(Publisher) readonly theirs: PublisherRepository,
    readonly em: EntityManager,
  ) {}

  get all(): [string, PublisherRepository][] {
    return [
      ['by class', this.byClass],
      ['ours', this.ours],
      ['theirs', this.theirs],
      ['em.getRepository()', this.em.getRepository(Publisher)],
    ];
  }
}

/** Writes by each of them in one request that fails. */
async function expectInSession(app: INestApplication, { all }: EveryRepository): Promise<void> {
  const undone = run(app, async () => {
    const own = await xid(app.get(getSessionToken()));
    for (const [name, repository] of all) {
      expect(repository).toBeInstanceOf(PublisherRepository);
      const created = repository.create({ name });
      repository.getEntityManager().persist(created);
      await repository.rename((await repository.findOneOrFail({ name })).id, `${name}, renamed`);
      expect(await xid(repository.getEntityManager())).toBe(own);
    }
    expect(await all[0]![1].count()).toBe(all.length);
    throw new Error('undo');
  });
  await expect(undone).rejects.toThrow('undo');
  expect(await database.query('select name from publisher')).toEqual([]);
}

describe('an application that has this module alone', () => {
  const audit = (): DynamicModule =>
    DbContextModule.forFeature({ name: 'audit', ...config({ entities: [Entry] }) } as never);

  it.each([
    [
      'forRoot()',
      () =>
        DbContextModule.forRoot({
          connections: [config({ entities: [Publisher, Title] })] as never,
        }),
    ],
    [
      'forRootAsync()',
      () =>
        DbContextModule.forRootAsync({
          useFactory: () => ({ connections: [config({ entities: [Publisher, Title] })] as never }),
        }),
    ],
  ])('W2: injects MikroORM and EntityManager by every token, with %s', async (_what, root) => {
    const app = await start(root(), audit(), feature([], EveryWay));
    const { core, orm, coreEm, em, auditOrm, auditEm } = get(app, EveryWay);
    const connection = app.get<DbConnection>(getConnectionToken());
    expect([core, orm]).toEqual([connection.orm, connection.orm]);
    expect([coreEm, em]).toEqual([connection.orm.em, connection.orm.em]);
    expect(auditOrm).toBe(app.get<DbConnection>(getConnectionToken('audit')).orm);
    expect(auditEm).toBe(auditOrm.em);
    await run(app, async () => {
      expect(await xid(em)).toBe(await xid(app.get(getSessionToken())));
      expect(await xid(auditEm)).toBe(await xid(app.get(getSessionToken('audit'))));
    });
  });

  it('W2: forFeature() provides a repository by its class and by both decorators', async () => {
    const app = await start(
      DbContextModule.forRoot({ connections: [config()] as never }),
      feature([DbContextModule.forFeature([Publisher, Title])], EveryRepository),
    );
    await expectInSession(app, get(app, EveryRepository));
  });

  it('W2: forFeature() provides the repository of an entity of defineEntity() by its class', async () => {
    const app = await start(
      DbContextModule.forRoot({ connections: [config()] as never }),
      feature([DbContextModule.forFeature([Word])]),
    );
    const words = get(app, WordRepository as Type<WordRepository>);
    expect(words).toBe(app.get(getRepositoryToken(Word), { strict: false }));
    await run(app, () => words.add('a'));
    expect(await entries()).toEqual(['a']);
  });

  it('W2: MikroOrmModule.forFeature() may be left in feature modules, and adds its entities', async () => {
    const app = await start(
      DbContextModule.forRoot({ connections: [config({ entities: [Entry] })] as never }),
      feature(
        [MikroOrmModule.forFeature([Publisher, Title]), DbContextModule.forFeature([Publisher])],
        EveryRepository,
      ),
    );
    await expectInSession(app, get(app, EveryRepository));
  });
});

describe('both modules in one application', () => {
  const theirs = (contextName?: string): unknown =>
    MikroOrmModule.forRoot({
      ...config(),
      autoLoadEntities: true,
      ...(contextName !== undefined && { contextName }),
    } as never);
  const ours = (): DynamicModule =>
    DbContextModule.forRootAsync({
      connectionNames: ['default', 'audit'],
      inject: [MikroORM, getMikroORMToken('audit')],
      useFactory: (orm: MikroORM, auditOrm: MikroORM) => ({
        watch: false,
        connections: [{ orm }, { name: 'audit', orm: auditOrm }],
      }),
    });

  it.each([
    ['theirs first', (): unknown[] => [theirs(), theirs('audit'), ours()]],
    ['ours first', (): unknown[] => [ours(), theirs(), theirs('audit')]],
    [
      'their forRootAsync()',
      (): unknown[] => [
        MikroOrmModule.forRootAsync({
          driver: config().driver!,
          useFactory: () => ({ ...config(), autoLoadEntities: true }) as never,
        }),
        theirs('audit'),
        ours(),
      ],
    ],
  ])('W2: two context names are two connections, %s', async (_what, roots) => {
    const app = await start(
      ...roots(),
      feature(
        [
          MikroOrmModule.forFeature([Publisher, Title, Entry]),
          MikroOrmModule.forFeature([Entry], 'audit'),
        ],
        EveryWay,
      ),
    );
    const { core, orm, coreEm, em, auditOrm, auditEm } = get(app, EveryWay);
    expect([core, coreEm, em, auditEm]).toEqual([orm, orm.em, orm.em, auditOrm.em]);
    const auditEntries = app.get<EntityRepository<Entry>>(getTheirRepositoryToken(Entry, 'audit'), {
      strict: false,
    });
    const undone = run(app, async () => {
      em.persist(new Entry('of the default one'));
      await auditEntries.insert({ text: 'of audit' });
      expect(await xid(em)).toBe(await xid(app.get(getSessionToken())));
      expect(await xid(auditEntries.getEntityManager())).toBe(
        await xid(app.get(getSessionToken('audit'))),
      );
      expect(await xid(em)).not.toBe(await xid(auditEm));
      throw new Error('undo');
    });
    await expect(undone).rejects.toThrow('undo');
    expect(await entries()).toEqual([]);
  });

  it('W2: forFeature() of both fill one list of entities, and provide the same repositories', async () => {
    const app = await start(
      theirs(),
      DbContextModule.forRootAsync({
        inject: [MikroORM],
        useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
      }),
      feature(
        [MikroOrmModule.forFeature([Entry]), DbContextModule.forFeature([Publisher, Title])],
        EveryRepository,
      ),
    );
    const names = [...app.get(MikroORM).getMetadata().getAll().values()].map(
      ({ className }) => className,
    );
    expect(names).toEqual(expect.arrayContaining(['Entry', 'Publisher', 'Title']));
    await expectInSession(app, get(app, EveryRepository));
  });

  it.each(['theirs first', 'ours first'])(
    'W2: with mount: middleware a guard is in the session, %s',
    async (order) => {
      @Injectable()
      class Refusing implements CanActivate {
        constructor(private readonly em: EntityManager) {}

        async canActivate(): Promise<boolean> {
          await this.em.insert(Entry, { text: 'by the guard' });
          return false;
        }
      }
      @Controller()
      @UseGuards(Refusing)
      class RefusedController {
        @Get('refused')
        refused(): void {}
      }
      const roots = [
        theirs(),
        DbContextModule.forRootAsync({
          inject: [MikroORM],
          useFactory: (orm: MikroORM) => ({ mount: 'middleware', connections: [{ orm }] }),
        }),
      ];
      const app = await start(
        ...(order === 'ours first' ? roots.toReversed() : roots),
        feature([MikroOrmModule.forFeature([Entry])]),
        { ...feature([]), controllers: [RefusedController] },
      );
      await app.listen(0, '127.0.0.1');
      const { status } = await fetch(`${await app.getUrl()}/refused`);
      expect(status).toBe(403);
      expect(await entries()).toEqual([]);
    },
  );

  it.each([
    [
      'a class that needs it',
      (): DbContextModuleAsyncOptions => {
        @Injectable()
        class OptionsOfOrm implements DbContextOptionsFactory {
          constructor(private readonly orm: MikroORM) {}

          createDbContextOptions(): DbContextModuleOptions {
            return { connections: [{ orm: this.orm }] };
          }
        }
        return { useClass: OptionsOfOrm };
      },
    ],
    [
      'a service that needs it',
      (): DbContextModuleAsyncOptions => {
        @Injectable()
        class OrmService {
          constructor(readonly orm: MikroORM) {}
        }
        class ServiceModule {
          readonly isFeature = true;
        }
        Module({ providers: [OrmService], exports: [OrmService] })(ServiceModule);
        return {
          imports: [ServiceModule],
          inject: [OrmService],
          useFactory: ({ orm }: OrmService) => ({ connections: [{ orm }] }),
        };
      },
    ],
  ])('hands its MikroORM over through %s, whichever comes first', async (_what, options) => {
    const app = await start(
      DbContextModule.forRootAsync(options()),
      theirs(),
      feature([MikroOrmModule.forFeature([Entry])]),
    );
    expect(app.get<DbConnection>(getConnectionToken()).orm).toBe(app.get(MikroORM));
  });

  it('W2: an EntityManager that they make for each request is the session', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class OfTheRequest {
      constructor(readonly em: EntityManager) {}
    }
    const app = await start(
      MikroOrmModule.forRoot({ ...config({ entities: [Entry] }), scope: Scope.REQUEST } as never),
      DbContextModule.forRootAsync({
        inject: [MikroORM],
        useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
      }),
      feature([], OfTheRequest),
    );
    const undone = run(app, async () => {
      const { em } = await app.resolve(OfTheRequest, undefined, { strict: false });
      expect(em).not.toBe(app.get(MikroORM).em);
      em.persist(new Entry('a'));
      await em.flush();
      expect(await xid(em)).toBe(await xid(app.get(getSessionToken())));
      throw new Error('undo');
    });
    await expect(undone).rejects.toThrow('undo');
    expect(await entries()).toEqual([]);
  });
});

it('their tokens are those that this module provides', () => {
  expect([getMikroORMToken('audit'), getEntityManagerToken('audit')]).toEqual([
    'audit_MikroORM',
    'audit_EntityManager',
  ]);
  expect(getTheirRepositoryToken(Entry)).toBe('EntryRepository');
  expect(getTheirRepositoryToken(Entry, 'audit')).toBe('EntryRepository_audit');
  expect(EntitySchema.REGISTRY.get(Word)).toBe(WordSchema);
});
