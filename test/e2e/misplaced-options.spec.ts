import { defineConfig, MikroORM } from '@mikro-orm/postgresql';
import type { DynamicModule } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  Atomic,
  CommitOn,
  DbContext,
  DbConnection,
  DbContextModule,
  getConnectionToken,
  DbTransaction,
  InvalidOptionsError,
  NewDbContext,
  RetryOnSerializationFailure,
  WithDbContext,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { fullMessage } from '../support/full-message.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';

const URL_OF_NOTHING = 'postgres://nobody@127.0.0.1:1/nothing';

const connection = (extra: object = {}): DbConnectionOptions => ({
  ...defineConfig({ clientUrl: URL_OF_NOTHING, entities: [Note] }),
  ...extra,
});
const root = (extra: object = {}, ofConnection: object = {}): DynamicModule =>
  DbContextModule.forRoot({ watch: false, connections: [connection(ofConnection)], ...extra });

/** Compiles an application, as it boots; nothing connects. */
async function compile(...modules: readonly DynamicModule[]): Promise<DbContext> {
  const app = await Test.createTestingModule({ imports: [...modules] }).compile();
  return app.get(DbContext);
}

const TRANSACTION =
  'it belongs inside of transaction: {} of a connection, in @DbTransaction(), in the options of atomic() or ' +
  'in the options of dbContext.stream().';
const ROOT = 'it belongs in the options of DbContextModule.forRoot(), beside connections';

/** Each is an options object, and what is said of a key that has no effect in it. */
const AT_BOOT: readonly (readonly [string, () => readonly DynamicModule[], string])[] = [
  ...(
    [
      ['begin', 'first-write'],
      ['isolationLevel', 'serializable'],
      ['readOnly', true],
      ['deferrable', true],
      ['statementTimeoutMs', 100],
      ['lockTimeoutMs', 100],
      ['idleTimeoutMs', 100],
    ] as const
  ).map(
    ([key, value]) =>
      [`${key} of a transaction`, () => [root({}, { [key]: value })], TRANSACTION] as const,
  ),
  ['onDisconnect in a connection', () => [root({}, { onDisconnect: 'rollback' })], ROOT],
  ['hookTimeoutMs in a connection', () => [root({}, { hookTimeoutMs: 1 })], ROOT],
  [
    'hosts in a connection',
    () => [root({}, { hosts: ['a', 'b'] })],
    'it belongs inside of failover: {} of a connection',
  ],
  [
    'fallback in a connection',
    () => [root({}, { fallback: 'error' })],
    'it belongs inside of readFrom: {} of a connection',
  ],
  [
    'via in a connection',
    () => [root({}, { via: 'cookie' })],
    'it belongs inside of readYourWrites: {} of a connection',
  ],
  [
    'retry in a connection',
    () => [root({}, { retry: { attempts: 3 } })],
    'options of dbContext.run()',
  ],
  [
    'a setting in a connection of forFeature()',
    () => [root(), DbContextModule.forFeature(connection({ name: 'b', readOnly: true }))],
    TRANSACTION,
  ],
  ...(
    [
      ['aquireTimeoutMs', 100, 'acquireTimeoutMs'],
      ['acquireTimeout', 100, 'acquireTimeoutMs'],
      ['sessionVariable', {}, 'sessionVariables'],
      ['resetOnRelaese', 'always', 'resetOnRelease'],
      ['Role', 'app', 'role'],
      ['failOver', {}, 'failover'],
      ['transactions', {}, 'transaction'],
      ['ensureDatbase', true, 'ensureDatabase'],
      ['entites', [], 'entities'],
      ['pol', { max: 5 }, 'pool'],
    ] as const
  ).map(
    ([key, value, meant]) =>
      [
        `${key}, misspelt in a connection`,
        () => [root({}, { [key]: value })],
        `There is no such option. Did you mean ${meant}?`,
      ] as const,
  ),
  [
    'a limit of a connection in its pool',
    () => [root({}, { pool: { acquireTimeoutMs: 100 } })],
    'pool has acquireTimeoutMs: 100. It has no effect there; it belongs in the options of a connection.',
  ],
  [
    'an option of a connection in driverOptions',
    () => [root({}, { driverOptions: { resetOnRelease: 'always' } })],
    "driverOptions has resetOnRelease: 'always'. It has no effect there; it belongs in the options of a connection.",
  ],
  [
    'a limit of a connection in the options of all',
    () => [root({ drainTimeoutMs: 100 })],
    'forRoot() has drainTimeoutMs: 100. It has no effect there; it belongs in the options of a connection',
  ],
  [
    'a misspelt option',
    () => [root({ onDisconect: 'rollback' })],
    'Give one of connections, mount,',
  ],
  [
    'an option beside the factory',
    () => [
      DbContextModule.forRootAsync({
        mount: 'none',
        useFactory: () => ({ connections: [connection()] }),
      } as never),
    ],
    `forRootAsync() has mount: 'none'. It has no effect there; ${ROOT}`,
  ],
  [
    'what the factory returns',
    () => [
      DbContextModule.forRootAsync({
        useFactory: () => ({ connections: [connection({ begin: 'first-write' })] }),
      }),
    ],
    TRANSACTION,
  ],
  [
    'a setting in a wrong way',
    () => [root({}, { transaction: { drainTimeoutMs: 1 } })],
    'its transaction has drainTimeoutMs: 1. It has no effect there; it belongs in the options of a connection',
  ],
  ...(
    [
      ['commitOn', true],
      ['beforeCommit', 1],
      ['serializeFirst', 'yes'],
      ['watch', 'on'],
    ] as const
  ).map(
    ([key, value]) =>
      [
        `${key} of another kind`,
        () => [root({ [key]: value })],
        `forRoot() was given ${key}: ${typeof value === 'string' ? `'${value}'` : value}. Give `,
      ] as const,
  ),
  [
    'failover',
    () => [root({}, { failover: { hosts: ['a:1', 'b:1'], cacheSeconds: 1 } })],
    'failover has cacheSeconds: 1. Give one of hosts, timeoutMs, cacheMs',
  ],
  [
    'readFrom',
    () => [root({}, { readFrom: { via: 'cookie' } })],
    "readFrom has via: 'cookie'. It has no effect there; it belongs inside of readYourWrites",
  ],
  [
    'watch',
    () => [root({ watch: { contextTimeoutMs: 5 } })],
    `watch has contextTimeoutMs: 5. It has no effect there; ${ROOT}`,
  ],
];

describe('options that have no effect where they stand', () => {
  it.each(AT_BOOT)('are refused at boot: %s', async (_, modules, says) => {
    const refused = (async () => compile(...modules()))();
    await expect(refused).rejects.toBeInstanceOf(InvalidOptionsError);
    await expect(refused).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining(says),
    });
  });

  it('are not refused: each that MikroORM itself knows', async () => {
    const orm = new MikroORM(defineConfig({ clientUrl: URL_OF_NOTHING, entities: [Note] }));
    const own = orm.config.getAll() as unknown as Record<string, unknown>;
    const known = Object.fromEntries(Object.keys(own).map((key) => [key, own[key]]));
    expect(Object.keys(known).length).toBeGreaterThan(50);
    await expect(compile(root({}, { ...known, clientUrl: URL_OF_NOTHING }))).resolves.toBeDefined();
  });

  it('are refused: of connection.check()', async () => {
    const app = await Test.createTestingModule({ imports: [root()] }).compile();
    const checked = app.get<DbConnection>(getConnectionToken()).check({ timoutMs: 5 } as never);
    await expect(checked).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: fullMessage(
        'INVALID_OPTIONS',
        'check() of connection "default" was given timoutMs. Give timeoutMs, or nothing.',
      ),
    });
  });

  it('are refused at boot: of MikroORM, beside an orm that has its own', async () => {
    const orm = await MikroORM.init({ ...connection(), ensureDatabase: false } as never);
    const options = { orm, pool: { max: 3 } } as never;
    await expect(
      (async () => compile(DbContextModule.forRoot({ connections: [options] })))(),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('has pool: { max: 3 }. It has no effect beside orm.'),
    });
  });

  it.each<readonly [string, () => unknown, string]>([
    [
      '@CommitOn()',
      () => CommitOn({ status: 401 } as never),
      '@CommitOn() was given { status: 401 }',
    ],
    [
      '@DbTransaction()',
      () => DbTransaction(undefined as never),
      '@DbTransaction() was given undefined',
    ],
    [
      '@Atomic()',
      () => Atomic({ curent: 'savepoint' } as never),
      "@Atomic() has curent: 'savepoint'",
    ],
    [
      '@Atomic()',
      () => Atomic({ current: 'savepiont' } as never),
      "@Atomic() has current: 'savepiont'",
    ],
    ['@Atomic()', () => Atomic({ lockTimeoutMs: -1 }), '@Atomic() has lockTimeoutMs: -1'],
    ['@Atomic()', () => Atomic({ retry: { attempts: 1 } }), 'retry has attempts: 1'],
    [
      '@WithDbContext()',
      () => WithDbContext({ isolationLevel: 'serializable' } as never),
      "@WithDbContext() has isolationLevel: 'serializable'",
    ],
    ['@WithDbContext()', () => WithDbContext('x' as never), "@WithDbContext() was given 'x'"],
    [
      '@NewDbContext()',
      () => NewDbContext({ commitOn: true } as never),
      '@NewDbContext() has commitOn: true',
    ],
  ])('are refused as the class is loaded: of %s', (_, declare, says) => {
    expect(declare).toThrow(InvalidOptionsError);
    expect(declare).toThrow(says);
  });

  it('are refused as the class is loaded', () => {
    expect(() => DbTransaction({ retry: { attempts: 2 } } as never)).toThrow(
      /^@DbTransaction\(\) has retry: .* It has no effect there; it belongs in the options of dbContext\.run\(\)/,
    );
    expect(() => RetryOnSerializationFailure({ attempts: 2, readOnly: true } as never)).toThrow(
      /^@RetryOnSerializationFailure\(\) has readOnly: true\. It has no effect there/,
    );
  });

  it('are refused by the calls that take them', async () => {
    const dbContext = await compile(root());
    const work = (): Promise<string> => Promise.resolve('never');
    const wrong = (options: object): never => options as never;
    const calls: readonly (readonly [() => Promise<unknown>, string])[] = [
      [() => dbContext.run(work, wrong({ connection: 'a' })), 'dbContext.run() has connection'],
      [() => dbContext.run(work, wrong({ readOnly: true })), TRANSACTION],
      [() => dbContext.runInNewContext(work, wrong({ begin: 'first-write' })), TRANSACTION],
      [
        () => dbContext.runAllInNewContexts([work], wrong({ max: 3 })),
        'Give one of concurrency, retry.',
      ],
      [
        () => dbContext.newSession(work, wrong({ readOnly: true })),
        'newSession() has readOnly: true',
      ],
      [() => dbContext.newAtomicSession(work, wrong({ readOnly: true })), TRANSACTION],
      [
        () => dbContext.run(() => dbContext.atomic(work, wrong({ attempts: 3 }))),
        'atomic() has attempts: 3. It has no effect there; it belongs inside of retry: {}',
      ],
      [
        () => dbContext.run(() => dbContext.withClient(work, wrong({ readOnly: true }))),
        'withClient() has readOnly: true',
      ],
      [
        () => dbContext.run(() => dbContext.onCommit(work, wrong({ name: 'a' }))),
        "onCommit() has name: 'a'",
      ],
      [
        () => dbContext.run(() => dbContext.rollbackOnly(wrong({ name: 'a' }))),
        'rollbackOnly() has name',
      ],
    ];
    for (const [call, says] of calls) {
      await expect(call()).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(says),
      });
    }
  });

  it('calls without a function, and names of connections that are objects, are refused', async () => {
    const dbContext = await compile(root());
    const nothing = undefined as never;
    const asObject = { connection: 'default' } as never;
    const inside = (call: () => unknown): Promise<unknown> => dbContext.run(async () => call());
    const calls: readonly (readonly [() => Promise<unknown>, string])[] = [
      [() => dbContext.run(nothing), 'dbContext.run() was given undefined to run. Give a function'],
      [() => dbContext.runInNewContext(nothing), 'runInNewContext() was given undefined to run'],
      [() => inside(() => dbContext.atomic(nothing)), 'atomic() was given undefined to run'],
      ...(['commit', 'rollback', 'close', 'session', 'getSession', 'popSession'] as const).map(
        (method) =>
          [
            () => inside(() => dbContext[method](asObject)),
            "{ connection: 'default' } was given for the name of a connection. Give the name itself: 'default'.",
          ] as const,
      ),
    ];
    for (const [call, says] of calls) {
      await expect(call()).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(says),
      });
    }
  });

  it('popSession() of a connection that nobody declares is refused as getSession() is', async () => {
    const dbContext = await compile(root());
    await expect(dbContext.run(async () => dbContext.popSession('nobody'))).rejects.toMatchObject({
      code: 'UNKNOWN_CONNECTION',
      connectionName: 'nobody',
    });
  });
});

describe('parameters of a clientUrl that MikroORM drops', () => {
  it('are named in a warning at boot, without the URL', async () => {
    const log = new LogRecorder();
    const clientUrl =
      'postgres://nobody:secret@127.0.0.1:1/nothing?schema=a&application_name=b&options=c';
    const app = await Test.createTestingModule({
      imports: [root({}, defineConfig({ clientUrl, entities: [Note] }))],
    })
      .setLogger(log)
      .compile();
    await app.close();
    const warnings = log.ofLibrary('warn');
    expect(warnings).toEqual([
      expect.stringMatching(
        /^The clientUrl of connection "default" .*: application_name, options\. /,
      ),
    ]);
    expect(warnings.join()).not.toContain('secret');
  });
});
