import {
  defineConfig,
  MikroORM,
  PostgreSqlDriver,
  type EntityManager,
} from '@mikro-orm/postgresql';
import { Injectable, Module, type DynamicModule, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DbContextModule,
  DuplicateConnectionError,
  InjectRepository,
  InjectSession,
  InvalidOptionsError,
  UnknownConnectionError,
  UnknownEntityError,
  type ConnectionLimits,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { Author } from '../support/library.entities.js';
import { Note } from '../support/note.entity.js';

// Nothing here connects: everything is refused before.
const URL_OF_NOTHING = 'postgres://postgres@127.0.0.1:1/nothing';

function connection(name?: string, extra: object = {}): DbConnectionOptions {
  return {
    ...defineConfig({ clientUrl: URL_OF_NOTHING, entities: [Note] }),
    ...(name !== undefined && { name }),
    ...extra,
  };
}

const ormOfNothing = (): MikroORM =>
  new MikroORM(
    defineConfig({ clientUrl: URL_OF_NOTHING, entities: [Note], ensureDatabase: false }),
  );

const root = (...connections: DbConnectionOptions[]): DynamicModule =>
  DbContextModule.forRoot({ connections });

/** Boots an application of these modules, and returns why it does not. */
async function refusal(modules: () => (DynamicModule | Type)[]): Promise<Error> {
  try {
    const app = await Test.createTestingModule({ imports: modules() }).compile();
    await app.close();
  } catch (error) {
    return error as Error;
  }
  throw new Error('the application booted');
}

interface Refusal {
  readonly what: string;
  readonly modules: () => (DynamicModule | Type)[];
  readonly error: new (...args: never[]) => Error;
  readonly says: string;
}

class OtherDriver extends PostgreSqlDriver {
  override getDependencies(): string[] {
    return ['mysql2'];
  }
}

const REFUSALS: Refusal[] = [
  {
    what: 'no options',
    modules: () => [DbContextModule.forRoot(undefined as never)],
    error: InvalidOptionsError,
    says: 'forRoot() was given no connections. Write { connections: [defineConfig({',
  },
  {
    what: "MikroORM's options in place of { connections }",
    modules: () => [DbContextModule.forRoot(connection() as never)],
    error: InvalidOptionsError,
    says: 'was given no connections. Write { connections: [defineConfig({',
  },
  {
    what: 'an undefined connection',
    modules: () => [root(undefined as never)],
    error: InvalidOptionsError,
    says: 'connection number 1',
  },
  {
    what: 'no options from the factory',
    modules: () => [DbContextModule.forRootAsync({ useFactory: () => undefined as never })],
    error: InvalidOptionsError,
    says: 'forRootAsync() was given no connections',
  },
  {
    what: 'no factory',
    modules: () => [DbContextModule.forRootAsync({} as never)],
    error: InvalidOptionsError,
    says: 'exactly one of useFactory, useClass and useExisting, and was given 0',
  },
  {
    what: 'two factories',
    modules: () => [
      DbContextModule.forRootAsync({
        useFactory: () => ({ connections: [] }),
        useExisting: 'x',
      } as never),
    ],
    error: InvalidOptionsError,
    says: 'exactly one of useFactory, useClass and useExisting, and was given 2',
  },
  {
    what: 'a connection without a driver',
    modules: () => [root({ clientUrl: URL_OF_NOTHING })],
    error: InvalidOptionsError,
    says: 'has neither "orm" nor "driver". Wrap its options in defineConfig()',
  },
  {
    what: 'an orm in place of the options of a connection',
    modules: () => [root(ormOfNothing() as never)],
    error: InvalidOptionsError,
    says: 'A MikroORM instance stands where the options of a connection are expected. Give it as an option: connections: [{ orm }].',
  },
  {
    what: 'an entity manager in place of an orm',
    modules: () => [root({ orm: ormOfNothing().em as never })],
    error: InvalidOptionsError,
    says: '"orm" of connection "default" is an instance of PostgreSqlEntityManager and no MikroORM instance. Give what MikroORM.init() resolves to',
  },
  {
    what: 'a URL that MikroORM reads as another server',
    modules: () => [root(connection(undefined, { clientUrl: 'socket:/tmp?db=app' }))],
    error: InvalidOptionsError,
    says: 'begins with socket:, a form that MikroORM does not read. Write postgres://user',
  },
  {
    what: 'such a URL of a replica',
    modules: () => [root(connection(undefined, { replicas: [{ clientUrl: 'socket:/tmp?db=a' }] }))],
    error: InvalidOptionsError,
    says: 'begins with socket:, a form that MikroORM does not read',
  },
  {
    what: 'a URL of a replica that asks for TLS',
    modules: () => [
      root(
        connection(undefined, { replicas: [{ clientUrl: `${URL_OF_NOTHING}?sslmode=prefer` }] }),
      ),
    ],
    error: InvalidOptionsError,
    says: 'says sslmode=prefer, which MikroORM does not pass on',
  },
  {
    what: 'an orm that is to be encrypted and would not be',
    modules: () => [
      root({
        orm: new MikroORM(
          defineConfig({ clientUrl: `${URL_OF_NOTHING}?ssl=true`, entities: [Note] }),
        ),
      }),
    ],
    error: InvalidOptionsError,
    says: 'says ssl=true, which MikroORM does not pass on',
  },
  {
    what: 'a promise of an orm',
    modules: () => [root({ orm: MikroORM.init(connection() as never) as never })],
    error: InvalidOptionsError,
    says: 'is a promise. Await it, or use forRootAsync()',
  },
  {
    what: 'another driver',
    modules: () => [root(connection(undefined, { driver: OtherDriver }))],
    error: InvalidOptionsError,
    says: 'uses OtherDriver; only PostgreSQL is supported',
  },
  {
    what: 'a ready-made Kysely',
    modules: () => [
      root(connection(undefined, { driverOptions: { createDriver: () => undefined } })),
    ],
    error: InvalidOptionsError,
    says: 'has a ready-made Kysely in driverOptions',
  },
  ...(
    [
      ['readFrom that is none', { readFrom: null }, 'readFrom is null. Give an object'],
      [
        'an unknown readFrom',
        { readFrom: { fall: 1 } },
        'has fall: 1. Give one of choose, fallback',
      ],
      ['a choice', { readFrom: { choose: 'random' } }, "has choose: 'random'. Give 'round-robin'"],
      ['a fallback', { readFrom: { fallback: 'none' } }, "has fallback: 'none'. Give 'primary' or"],
      ['a pause', { readFrom: { retryAfterMs: 0 } }, 'has retryAfterMs: 0. Give a number'],
      ['a way', { readYourWrites: {} }, "has via: undefined. Give 'cookie' or 'header'"],
      [
        'a wait',
        { readYourWrites: { via: 'cookie', waitMs: -1 } },
        'has waitMs: -1. Give a number',
      ],
      [
        'an age',
        { readYourWrites: { via: 'cookie', maxAgeSeconds: 1.5 } },
        'has maxAgeSeconds: 1.5',
      ],
      [
        'a switch',
        { readYourWrites: { via: 'cookie', secure: 'yes' } },
        "has secure: 'yes'. Give true",
      ],
      [
        'a name',
        { readYourWrites: { via: 'header', name: 'a b' } },
        "has name: 'a b'. Give a name of",
      ],
      [
        'a setting',
        { readYourWrites: { via: 'cookie', path: '/' } },
        "has path: '/'. Give one of via",
      ],
    ] as const
  ).map(([what, extra, says]) => ({
    what: `with replicas, ${what}`,
    modules: () => [root(connection(undefined, extra))],
    error: InvalidOptionsError,
    says,
  })),
  ...[['get'], 'GET', [1]].map((readOnlyMethods) => ({
    what: `readOnlyMethods: ${JSON.stringify(readOnlyMethods)}`,
    modules: () => [
      DbContextModule.forRoot({ connections: [], readOnlyMethods: readOnlyMethods as never }),
    ],
    error: InvalidOptionsError,
    says: 'Give a list of methods in capitals',
  })),
  {
    what: 'a name twice in forRoot()',
    modules: () => [root(connection('a'), connection('a'))],
    error: DuplicateConnectionError,
    says: 'connection "a" is declared twice',
  },
  {
    what: 'the default name twice',
    modules: () => [root(connection(), connection('default'))],
    error: DuplicateConnectionError,
    says: 'the name defaults to "default"',
  },
  {
    what: 'a name twice in connectionNames',
    modules: () => [
      DbContextModule.forRootAsync({
        connectionNames: ['a', 'a'],
        useFactory: () => ({ connections: [] }),
      }),
    ],
    error: DuplicateConnectionError,
    says: 'connection "a" is declared twice',
  },
  {
    what: 'a name of forRoot() again in forFeature()',
    modules: () => [root(connection('a')), DbContextModule.forFeature(connection('a'))],
    error: DuplicateConnectionError,
    says: 'connection "a" is declared twice',
  },
  {
    what: 'a name in two forFeature()',
    modules: () => [
      root(),
      DbContextModule.forFeature(connection('a')),
      DbContextModule.forFeature(connection('a')),
    ],
    error: DuplicateConnectionError,
    says: 'connection "a" is declared twice',
  },
  {
    what: 'forRoot() twice',
    modules: () => [root(connection()), root(connection('b'))],
    error: InvalidOptionsError,
    says: 'imported twice. Import it once, in the AppModule',
  },
  {
    what: 'a declared name that the factory does not return',
    modules: () => [
      DbContextModule.forRootAsync({
        connectionNames: ['default', 'audit'],
        useFactory: () => ({ connections: [connection()] }),
      }),
    ],
    error: InvalidOptionsError,
    says: "declares the connections ['default', 'audit'], and its factory returned ['default']",
  },
  {
    what: 'a name from the factory that is not declared',
    modules: () => [
      DbContextModule.forRootAsync({
        useFactory: () => ({ connections: [connection(), connection('audit')] }),
      }),
    ],
    error: InvalidOptionsError,
    says: "connectionNames: ['default', 'audit']",
  },
  {
    what: 'forFeature() without anything',
    modules: () => [root(connection()), DbContextModule.forFeature(undefined as never)],
    error: InvalidOptionsError,
    says: 'forFeature() was given no options',
  },
  {
    what: 'an entity that a circular import left undefined',
    modules: () => [root(connection()), DbContextModule.forFeature([Note, undefined as never])],
    error: InvalidOptionsError,
    says: 'as entity number 2. Two files that import each other are the usual cause',
  },
  {
    what: 'entities for an unknown connection',
    modules: () => [
      DbContextModule.forFeature([Note], 'x'),
      root(connection(), connection('audit')),
      DbContextModule.forFeature(connection('reports')),
    ],
    error: UnknownConnectionError,
    says: 'no connection "x" (declared: "default", "audit", "reports")',
  },
  {
    what: 'a connection that fails, with its own reason, before its repositories',
    modules: () => [DbContextModule.forFeature([Note]), root({ clientUrl: URL_OF_NOTHING })],
    error: InvalidOptionsError,
    says: 'has neither "orm" nor "driver"',
  },
  {
    what: 'a connection of forFeature() without forRoot()',
    modules: () => [DbContextModule.forFeature(connection())],
    error: InvalidOptionsError,
    says: 'DbContextModule.forRoot() is missing',
  },
  {
    what: 'entities of forFeature() without forRoot()',
    modules: () => [DbContextModule.forFeature([Note])],
    error: InvalidOptionsError,
    says: 'DbContextModule.forRoot() is missing',
  },
  {
    what: 'a beforeSession that is no function',
    modules: () => [root(connection(undefined, { beforeSession: 'db2' as never }))],
    error: InvalidOptionsError,
    says: 'connection "default" has a beforeSession that is not a function',
  },
  {
    what: 'a pool without connections',
    modules: () => [root(connection(undefined, { pool: { min: 0, max: 0 } }))],
    error: InvalidOptionsError,
    says: 'The connection "default" has pool: { max: 0 }. Give a whole number of at least 1',
  },
  {
    what: 'a pool whose least size is more than its greatest',
    modules: () => [root(connection(undefined, { pool: { min: 6, max: 5 } }))],
    error: InvalidOptionsError,
    says: 'The connection "default" has a pool of at least 6 and at most 5 connections',
  },
  {
    what: 'an unknown mount',
    modules: () => [
      DbContextModule.forRoot({
        connections: [],
        mount: 'guard',
      } as never),
    ],
    error: InvalidOptionsError,
    says: 'mount: guard. Give one of interceptor, middleware, none',
  },
  {
    what: 'an unknown onDisconnect',
    modules: () => [
      DbContextModule.forRootAsync({
        connectionNames: [],
        useFactory: () => ({ connections: [], onDisconnect: 'abort' as never }),
      }),
    ],
    error: InvalidOptionsError,
    says: 'onDisconnect: abort. Give one of finish, rollback',
  },
];

const LIMITS: (keyof ConnectionLimits)[] = [
  'acquireTimeoutMs',
  'deadlockTimeoutMs',
  'transactionTimeoutMs',
  'drainTimeoutMs',
  'endTimeoutMs',
  'savepointTimeoutMs',
  'hostDrainTimeoutMs',
];
const BAD_LIMITS = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31];

describe('what the module refuses at boot', () => {
  it.each(REFUSALS)('$what', async ({ modules, error, says }) => {
    const reason = await refusal(modules);
    expect(reason).toBeInstanceOf(error);
    expect(reason.message).toContain(says);
  });

  it('an entity that an orm which was handed over does not know', async () => {
    const orm = await MikroORM.init(
      defineConfig({ clientUrl: URL_OF_NOTHING, entities: [Note], ensureDatabase: false }),
    );
    const reason = await refusal(() => [root({ orm }), DbContextModule.forFeature([Author])]);
    await orm.close(true);
    expect(reason).toBeInstanceOf(UnknownEntityError);
    expect(reason.message).toContain('connection "default" does not know the entity Author');
    expect(reason.message).toContain('MikroORM instance that was handed over');
  });

  it.each(LIMITS.flatMap((limit) => BAD_LIMITS.map((value) => [limit, value] as const)))(
    'F6: %s: %p',
    async (limit, value) => {
      const reason = await refusal(() => [root(connection(undefined, { [limit]: value }))]);
      expect(reason).toBeInstanceOf(InvalidOptionsError);
      expect(reason.message).toContain(`has ${limit}: ${String(value)}`);
    },
  );

  it.each(BAD_LIMITS)('F6: shutdownTimeoutMs: %p', async (value) => {
    const reason = await refusal(() => [
      DbContextModule.forRoot({ connections: [], shutdownTimeoutMs: value }),
    ]);
    expect(reason).toBeInstanceOf(InvalidOptionsError);
    expect(reason.message).toContain(`shutdownTimeoutMs: ${String(value)}`);
  });

  it("@InjectSession('nope'): Nest's own error says what to write", async () => {
    @Injectable()
    class Service {
      constructor(@InjectSession('nope') readonly session: EntityManager) {}
    }

    @Module({ providers: [Service] })
    class ServiceModule {}

    const reason = await refusal(() => [root(connection()), ServiceModule]);
    expect(reason.message).toContain(
      `session of connection "nope" (declare it with DbContextModule.forFeature({ name: 'nope', ... }))`,
    );
  });

  it('@InjectRepository() without forFeature(): the error says what to write', async () => {
    @Injectable()
    class Service {
      constructor(@InjectRepository(Note) readonly notes: unknown) {}
    }

    @Module({ providers: [Service] })
    class ServiceModule {}

    const reason = await refusal(() => [root(connection()), ServiceModule]);
    expect(reason.message).toContain('declare it with DbContextModule.forFeature([Note])');
  });

  it('@InjectRepository() of an entity that a circular import left undefined', () => {
    expect(() => InjectRepository(undefined as never)).toThrow(InvalidOptionsError);
    expect(() => InjectRepository(undefined as never)).toThrow(
      'Two files that import each other are the usual cause',
    );
  });
});
