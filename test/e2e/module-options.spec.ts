import { EntityRepositoryType } from '@mikro-orm/core';
import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import {
  defineConfig,
  EntityRepository,
  MikroORM,
  type EntityManager,
} from '@mikro-orm/postgresql';
import { Inject, Injectable, Module, type DynamicModule, type Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  DbConnection,
  DbContext,
  DbContextModule,
  getConnectionToken,
  getRepositoryToken,
  getSessionToken,
  InjectConnection,
  InjectRepository,
  InjectSession,
  type DbContextModuleOptions,
  type DbContextOptionsFactory,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection } from '../support/test-app.js';

@Entity({ tableName: 'note', repository: () => LabelRepository })
class Label {
  [EntityRepositoryType]?: LabelRepository;

  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  text!: string;
}

class LabelRepository extends EntityRepository<Label> {
  texts(): Promise<string[]> {
    return this.findAll().then((labels) => labels.map(({ text }) => text));
  }
}

@Injectable()
class NoteService {
  constructor(
    @InjectSession() readonly session: EntityManager,
    @InjectRepository(Note) readonly notes: EntityRepository<Note>,
    @InjectConnection() readonly connection: DbConnection,
  ) {}
}

@Module({
  imports: [DbContextModule.forFeature([Note])],
  providers: [NoteService],
  exports: [NoteService],
})
class NoteModule {}

let database: TestDatabase;

/** Stands for a configuration service. */
class Settings {
  readonly url = database.url;
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Injectable()
class OptionsFactory implements DbContextOptionsFactory {
  constructor(@Inject(Settings) private readonly settings: Settings) {}

  createDbContextOptions(): DbContextModuleOptions {
    return { connections: [noteConnection(this.settings.url)] };
  }
}

@Module({ imports: [SettingsModule], providers: [OptionsFactory], exports: [OptionsFactory] })
class OptionsModule {}

describe('module options', () => {
  let app: TestingModule | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });

  afterAll(() => database?.drop());

  beforeEach(() => database.query('truncate note'));

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  const start = async (...imports: (DynamicModule | Type)[]): Promise<TestingModule> => {
    app = await Test.createTestingModule({ imports }).compile();
    return app.init();
  };
  const savedTexts = async (): Promise<unknown[]> =>
    (await database.query('select text from note order by id')).map(({ text }) => text as unknown);
  /** Writes a note through the session of a connection, and looks whether it is there. */
  const expectToWork = async (name?: string): Promise<void> => {
    const session = app!.get<EntityManager>(getSessionToken(name));
    const text = `written by ${name ?? 'default'}`;
    await app!.get(DbContext).run(() => void session.persist(new Note(text)));
    expect(await savedTexts()).toContain(text);
  };

  it('forRoot: session, connection and repository can be injected', async () => {
    await start(
      DbContextModule.forRoot({ connections: [noteConnection(database.url)] }),
      NoteModule,
    );
    const { session, notes, connection } = app!.get(NoteService);
    expect(connection).toBe(app!.get(getConnectionToken()));
    await app!.get(DbContext).run(async () => {
      notes.create({ text: 'created' });
      await session.flush();
      expect(await notes.count()).toBe(1);
    });
    expect(await savedTexts()).toEqual(['created']);
  });

  it('forRoot: several connections by name', async () => {
    await start(
      DbContextModule.forRoot({
        connections: [
          noteConnection(database.url),
          noteConnection(database.url, { name: 'reports' }),
        ],
      }),
    );
    await expectToWork();
    await expectToWork('reports');
    expect(app!.get<DbConnection>(getConnectionToken('reports')).name).toBe('reports');
  });

  it('forRootAsync: useFactory with imports and inject', async () => {
    await start(
      DbContextModule.forRootAsync({
        imports: [SettingsModule],
        inject: [Settings],
        connectionNames: ['default', 'reports'],
        useFactory: async ({ url }: Settings) => ({
          connections: [noteConnection(url, { name: 'reports' }), noteConnection(url)],
        }),
      }),
    );
    await expectToWork();
    await expectToWork('reports');
  });

  it('forRootAsync: useClass', async () => {
    await start(
      DbContextModule.forRootAsync({ imports: [SettingsModule], useClass: OptionsFactory }),
    );
    await expectToWork();
  });

  it('forRootAsync: useExisting', async () => {
    await start(
      DbContextModule.forRootAsync({ imports: [OptionsModule], useExisting: OptionsFactory }),
    );
    await expectToWork();
  });

  it('forRootAsync: no connection of its own, all from forFeature()', async () => {
    await start(
      DbContextModule.forRootAsync({
        connectionNames: [],
        useFactory: () => ({ connections: [] }),
      }),
      DbContextModule.forFeature(noteConnection(database.url, { name: 'reports' })),
    );
    await expectToWork('reports');
  });

  it('forFeature(connection): can be injected in any module, and imported in several', async () => {
    const reports = DbContextModule.forFeature(noteConnection(database.url, { name: 'reports' }));

    @Injectable()
    class ReportService {
      constructor(@InjectSession('reports') readonly session: EntityManager) {}
    }

    @Module({ imports: [reports] })
    class ReportsModule {}

    @Module({ imports: [reports] })
    class MoreReportsModule {}

    @Module({ providers: [ReportService] })
    class ElsewhereModule {}

    await start(
      DbContextModule.forRoot({ connections: [] }),
      ReportsModule,
      MoreReportsModule,
      ElsewhereModule,
    );
    expect(app!.get(ReportService, { strict: false }).session).toBe(
      app!.get(getSessionToken('reports')),
    );
    await expectToWork('reports');
  });

  it('forFeature(entities, name): registers the entities on that connection', async () => {
    const connection = (name?: string) => ({
      ...defineConfig({ clientUrl: database.url }),
      ...(name !== undefined && { name }),
    });
    await start(
      DbContextModule.forRoot({ connections: [connection(), connection('reports')] }),
      DbContextModule.forFeature([Note], 'reports'),
      DbContextModule.forFeature([Label]),
    );
    const notes = app!.get<EntityRepository<Note>>(getRepositoryToken(Note, 'reports'));
    await app!.get(DbContext).run(async () => {
      notes.create({ text: 'reported' });
      await notes.getEntityManager().flush();
    });
    expect(await savedTexts()).toEqual(['reported']);
    const known = (name?: string) => [
      ...app!.get<DbConnection>(getConnectionToken(name)).orm.getMetadata().getAll().values(),
    ];
    expect(known('reports').map(({ className }) => className)).toEqual(['Note']);
    expect(known().map(({ className }) => className)).toEqual(['Label']);
  });

  it('forFeature(entities): may be repeated in several modules', async () => {
    @Injectable()
    class OtherService {
      constructor(@InjectRepository(Note) readonly notes: EntityRepository<Note>) {}
    }

    @Module({ imports: [DbContextModule.forFeature([Note])], providers: [OtherService] })
    class OtherModule {}

    await start(
      DbContextModule.forRoot({ connections: [defineConfig({ clientUrl: database.url })] }),
      NoteModule,
      OtherModule,
    );
    expect(app!.get(OtherService, { strict: false }).notes).toBe(app!.get(NoteService).notes);
  });

  it('forFeature(entities): gives the repository class of the entity', async () => {
    await start(
      DbContextModule.forRoot({ connections: [defineConfig({ clientUrl: database.url })] }),
      DbContextModule.forFeature([Label]),
    );
    const labels = app!.get<LabelRepository>(getRepositoryToken(Label));
    expect(labels).toBeInstanceOf(LabelRepository);
    await database.query(`insert into note (text) values ('a'), ('b')`);
    expect(await app!.get(DbContext).run(() => labels.texts())).toEqual(['a', 'b']);
  });

  it('orm: an instance that was handed over is used, and stays open', async () => {
    const orm = await MikroORM.init(
      defineConfig({ clientUrl: database.url, entities: [Note], ensureDatabase: false }),
    );
    try {
      await start(DbContextModule.forRoot({ connections: [{ orm }] }), NoteModule);
      expect(app!.get<DbConnection>(getConnectionToken()).orm).toBe(orm);
      await expectToWork();
      await app!.close();
      expect(await orm.em.fork().count(Note)).toBe(1);
    } finally {
      await orm.close(true);
    }
  });

  it('orm: an instance that another module provides', async () => {
    @Module({
      providers: [
        {
          provide: MikroORM,
          useFactory: () =>
            MikroORM.init(
              defineConfig({ clientUrl: database.url, entities: [Note], ensureDatabase: false }),
            ),
        },
      ],
      exports: [MikroORM],
    })
    class OrmModule {}

    await start(
      DbContextModule.forRootAsync({
        imports: [OrmModule],
        inject: [MikroORM],
        useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
      }),
    );
    try {
      await expectToWork();
    } finally {
      await app!.get(MikroORM, { strict: false }).close(true);
    }
  });
});
