/** The errors that a request raises say on which connection, and in which route. */
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
import { DbContext, DbContextError, DbContextModule, InjectSession } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

/** What a route is to do, by its name. */
type Case = (at: {
  session: EntityManager;
  dbContext: DbContext;
  world: TestWorld;
}) => Promise<unknown>;

let world: TestWorld;
let databaseOfOthers: TestDatabase;
/** What has been thrown: to the code of the route, or in place of its answer. */
const errors: unknown[] = [];
/** What a route leaves behind. */
const late: (() => Promise<unknown>)[] = [];

const caught = async (work: Promise<unknown>): Promise<void> => {
  await work.catch((error: unknown) => errors.push(error));
};

/** Each case with the connection that it is about. */
const CASES: Readonly<Record<string, readonly [DbContextError['code'], string, Case]>> = {
  late: [
    'SESSION_CLOSED',
    'default',
    async ({ session }) => {
      await session.execute('select 1');
      const manager = session.getContext();
      late.push(() => manager.execute('select 1'));
    },
  ],
  swallowed: [
    'UNEXPECTED_ROLLBACK',
    'default',
    ({ session }) => session.execute('select 1 / 0').catch(() => undefined),
  ],
  'rolled back only': [
    'UNEXPECTED_ROLLBACK',
    'default',
    async ({ session, dbContext }) => {
      await session.insert(Note, { text: 'lost' });
      dbContext.rollbackOnly();
    },
  ],
  aborted: [
    'TRANSACTION_ABORTED',
    'default',
    async ({ session, dbContext }) => {
      await session.execute('select 1 / 0').catch(() => undefined);
      await caught(session.execute('select 1'));
      await dbContext.rollbackAll();
    },
  ],
  overdue: [
    'TRANSACTION_TIMEOUT',
    'brief',
    ({ dbContext }) => caught(dbContext.session('brief').execute('select pg_sleep(30)')),
  ],
  crowded: [
    'ACQUIRE_TIMEOUT',
    'brief',
    async ({ dbContext, world: { app } }) => {
      const isHeld = deferred();
      const isOver = deferred();
      const holder = app.get(DbContext).newSession(
        async (session) => {
          await session.execute('select 1');
          isHeld.resolve();
          await isOver.promise;
        },
        { connection: 'brief' },
      );
      await isHeld.promise;
      await caught(dbContext.session('brief').execute('select 1'));
      isOver.resolve();
      await holder;
    },
  ],
  'in a callback': [
    'INVALID_TRANSACTION_STATE',
    'default',
    ({ session }) => caught(session.transactional(() => session.commit())),
  ],
  'read-only': [
    'READ_ONLY_TRANSACTION',
    'default',
    async ({ session, dbContext }) => {
      await session.begin({ readOnly: true });
      session.persist(new Note('refused'));
      await caught(session.flush());
      await dbContext.rollbackAll();
    },
  ],
  unknown: [
    'COMMIT_OUTCOME_UNKNOWN',
    'default',
    async ({ session, world: { proxy } }) => {
      await session.insert(Note, { text: 'unknown' });
      proxy.dropAnswerTo(/^commit/);
    },
  ],
  partial: [
    'PARTIAL_COMMIT',
    'default',
    async ({ session, dbContext }) => {
      const second = dbContext.session('second');
      await session.insert(Note, { text: 'saved' });
      await second.execute('set constraints all deferred');
      await second.insert(Note, { text: 'twice' });
      await second.insert(Note, { text: 'twice' });
    },
  ],
  settings: [
    'CONTEXT_SETTINGS_FAILED',
    'guarded',
    ({ dbContext }) => caught(dbContext.session('guarded').execute('select 1')),
  ],
  down: [
    'CONNECTION_FAILED',
    'down',
    ({ dbContext }) => caught(dbContext.session('down').execute('select 1')),
  ],
  closed: [
    'CONNECTION_CLOSED',
    'closed',
    async ({ dbContext, world: { connection } }) => {
      const session = dbContext.session('closed');
      await connection('closed').close();
      await caught(session.execute('select 1'));
    },
  ],
  hook: [
    'HOOK_TIMEOUT',
    '',
    async ({ session, dbContext }) => {
      await session.execute('select 1');
      dbContext.beforeCommit(() => new Promise(() => undefined));
    },
  ],
};

@Controller('raise')
class RaisingController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post(':name')
  async raise(@Param('name') name: string): Promise<void> {
    const [, , run] = CASES[name]!;
    await run({ session: this.session, dbContext: this.dbContext, world });
  }
}

@Catch()
class KeepingFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    errors.push(error);
    host.switchToHttp().getResponse<{ status(code: number): { end(): void } }>().status(500).end();
  }
}

beforeAll(async () => {
  const database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const { url } = database;
  world = await startWorld(
    { endTimeoutMs: 1_000 },
    {
      controllers: [RaisingController],
      providers: [{ provide: APP_FILTER, useClass: KeepingFilter }],
      hookTimeoutMs: 300,
      imports: [
        DbContextModule.forFeature(
          noteConnection(url, {
            name: 'brief',
            poolMax: 1,
            transactionTimeoutMs: 500,
            acquireTimeoutMs: 200,
          }),
        ),
        DbContextModule.forFeature(noteConnection(url, { name: 'second' })),
        DbContextModule.forFeature(
          noteConnection(url, {
            name: 'guarded',
            role: () => {
              throw new Error('no role');
            },
          }),
        ),
        DbContextModule.forFeature(
          noteConnection('postgresql://nobody@127.0.0.1:1/none', { name: 'down' }),
        ),
        DbContextModule.forFeature(noteConnection(url, { name: 'closed' })),
      ],
    },
  );
  databaseOfOthers = database;
});
afterAll(async () => {
  await world?.close();
  await databaseOfOthers?.drop();
});

it.each(
  Object.entries(CASES).map(([name, [code, connectionName]]) => [code, name, connectionName]),
)('%s of a request, %s, names the route and the connection', async (code, name, connectionName) => {
  errors.length = 0;
  late.length = 0;
  await world.fetch(`/raise/${encodeURIComponent(name)}`, { method: 'POST' });
  await Promise.all(late.map((work) => caught(work())));
  const raised = errors.filter((error) => error instanceof DbContextError);
  expect(raised[0]?.code).toBe(code);
  // What a route has swallowed comes back as the reason why it cannot be committed.
  for (const { message, origin } of raised) {
    const [says] = message.split('\nSee ');
    expect(says).toContain('in the context of RaisingController.raise');
    expect(says).toContain(connectionName);
    expect(origin).toBe('RaisingController.raise');
  }
});
