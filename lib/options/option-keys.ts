import { inspect } from 'node:util';

import type { ConnectionLimits } from '../connection/connection-limits.js';
import { InvalidOptionsError } from '../errors.js';
import {
  TRANSACTION_SETTINGS,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';
import type {
  ConnectionGlobalOptions,
  ConnectionResetOptions,
  ConnectionTransactionOptions,
} from './connection-options.js';
import { DEFAULTS } from './defaults.js';
import { MIKRO_ORM_KEYS } from './mikro-orm-keys.js';
import { misspeltKey } from './misspelt-key.js';
import type { FailoverOptions } from './failover-options.js';
import type { DbContextModuleAsyncOptions, DbContextModuleOptions } from './module-options.js';
import type {
  ConnectionReadOptions,
  ReadFromOptions,
  ReadYourWritesOptions,
} from './replica-options.js';
import type { RetryOptions } from './retry-options.js';
import type { WatchOptions } from './watch-options.js';

/** One kind of options object of the public API. */
interface Place {
  readonly keys: readonly string[];
  /** Completes the sentence "It belongs". */
  readonly belongs: string;
  /** Whether it is of a module of its own, whose keys nobody means elsewhere: `path`, `imports`. */
  readonly isApart?: boolean;
}

/** Makes a list of keys complete: the compiler names the one that is missing. */
function keysOf<T extends object>(keys: { readonly [K in keyof Required<T>]: true }): string[] {
  return Object.keys(keys);
}

/** The options of a connection that are not MikroORM's. */
const CONNECTION_KEYS = [
  ...keysOf<
    ConnectionTransactionOptions &
      ConnectionReadOptions &
      ConnectionResetOptions &
      ConnectionGlobalOptions & { readonly name?: string; readonly orm?: object }
  >({
    name: true,
    orm: true,
    transaction: true,
    sessionVariables: true,
    role: true,
    beforeSession: true,
    failover: true,
    readFrom: true,
    readYourWrites: true,
    resetOnRelease: true,
    globalEntityManager: true,
  }),
  ...(Object.keys(DEFAULTS.limits) satisfies string[] as (keyof ConnectionLimits)[]),
];

/** Those that a factory may return as well. */
const INSPECTOR_SETTINGS = [
  'allowInProduction',
  'showValues',
  'showPlaces',
  'hosts',
  'maxRequests',
  'maxStatements',
  'maxBytes',
] as const;

/** All of them, so that a key in the wrong one can be sent to its own. */
const PLACES = {
  module: {
    keys: keysOf<DbContextModuleOptions>({
      connections: true,
      mount: true,
      commitOn: true,
      flush: true,
      onDisconnect: true,
      serializeFirst: true,
      readOnlyMethods: true,
      beforeCommit: true,
      hookTimeoutMs: true,
      contextTimeoutMs: true,
      watch: true,
      shutdownTimeoutMs: true,
    }),
    belongs: 'in the options of DbContextModule.forRoot(), beside connections',
  },
  asyncModule: {
    keys: keysOf<DbContextModuleAsyncOptions>({
      imports: true,
      connectionNames: true,
      useFactory: true,
      useClass: true,
      useExisting: true,
      inject: true,
    }),
    belongs: 'in the options of DbContextModule.forRootAsync()',
  },
  connection: {
    keys: CONNECTION_KEYS,
    belongs: 'in the options of a connection',
  },
  transaction: {
    keys: [...TRANSACTION_SETTINGS] satisfies (keyof TransactionSettings)[],
    belongs: 'inside of transaction: {} of a connection',
  },
  route: {
    keys: ['connection', ...TRANSACTION_SETTINGS],
    belongs: 'in @DbTransaction()',
  },
  failover: {
    keys: keysOf<FailoverOptions>({ hosts: true, timeoutMs: true, cacheMs: true }),
    belongs: 'inside of failover: {} of a connection',
  },
  readFrom: {
    keys: keysOf<ReadFromOptions>({ choose: true, fallback: true, retryAfterMs: true }),
    belongs: 'inside of readFrom: {} of a connection',
  },
  readYourWrites: {
    keys: keysOf<ReadYourWritesOptions>({
      via: true,
      name: true,
      waitMs: true,
      maxAgeSeconds: true,
      secure: true,
    }),
    belongs: 'inside of readYourWrites: {} of a connection',
  },
  watch: {
    keys: keysOf<WatchOptions>({ contextOpenMs: true, idleInTransactionMs: true }),
    belongs: 'inside of watch: {} of DbContextModule.forRoot()',
  },
  retry: {
    keys: keysOf<RetryOptions>({ attempts: true, backoffMs: true }),
    belongs:
      'inside of retry: {} of dbContext.run() and atomic(), or in @RetryOnSerializationFailure()',
  },
  run: {
    keys: ['name', 'commitOn', 'commitOnError', 'retry'],
    belongs: 'in the options of dbContext.run() and runInNewContext()',
  },
  handler: {
    keys: ['commitOn', 'commitOnError'],
    belongs: 'in @WithDbContext() or @NewDbContext()',
  },
  runAll: {
    keys: ['concurrency', 'retry'],
    belongs: 'in the options of runAllInNewContexts()',
  },
  atomic: {
    keys: ['connection', 'current', 'retry', 'onError', 'commitOnError', ...TRANSACTION_SETTINGS],
    belongs: 'in the options of atomic()',
  },
  stream: {
    keys: [
      'connection',
      'timeoutMs',
      'objectMode',
      'highWaterMark',
      'name',
      ...TRANSACTION_SETTINGS,
    ],
    belongs: 'in the options of dbContext.stream()',
  },
  choice: {
    keys: ['connection'],
    belongs: 'in the options of a method of dbContext, as the name of the connection',
  },
  graphql: {
    keys: ['scope', 'readOnlyQueries'],
    belongs: 'in the options of DbContextGraphQLModule.forRoot()',
  },
  inspector: {
    keys: ['path', 'guard', 'imports', ...INSPECTOR_SETTINGS],
    belongs: 'in the options of DbContextInspectorModule.forRoot()',
    isApart: true,
  },
  inspectorAsync: {
    keys: ['path', 'guard', 'imports', 'inject', 'useFactory'],
    belongs: 'in the options of DbContextInspectorModule.forRootAsync()',
    isApart: true,
  },
  inspectorSettings: {
    keys: INSPECTOR_SETTINGS,
    belongs: 'in what useFactory of DbContextInspectorModule.forRootAsync() returns',
    isApart: true,
  },
  health: {
    keys: ['connection', 'timeoutMs', 'maxWaiting', 'maxLagMs'],
    belongs: 'in the options of pingCheck()',
  },
} as const satisfies Readonly<Record<string, Place>>;

/**
 * Refuses keys that have no effect in an options object: types do not reach options that come from the
 * environment, or from JavaScript, and TypeScript itself lets unknown keys of a variable through.
 *
 * @param where the beginning of the error's message
 * @throws {@link InvalidOptionsError}
 */
export function checkKeys(options: object, place: keyof typeof PLACES, where: string): void {
  const { keys }: Place = PLACES[place];
  if (typeof options !== 'object' || options === null) {
    throw new InvalidOptionsError(
      `${where} was given ${inspect(options)} for its options. Give an object with ${keys.join(', ')}.`,
    );
  }
  for (const [key, value] of Object.entries(options)) {
    if (!keys.includes(key)) {
      const advice = adviceFor(key) ?? `Give one of ${keys.join(', ')}.`;
      throw new InvalidOptionsError(`${where} has ${key}: ${inspect(value)}. ${advice}`);
    }
  }
}

/**
 * As {@link checkKeys}, for a connection. MikroORM's own options stand beside ours there, so only those of
 * ours that belong elsewhere or are misspelt are refused; beside `orm`, which has its options already, every
 * other one.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkConnectionKeys(options: object, where: string): void {
  const hasOrm = (options as { readonly orm?: unknown }).orm !== undefined;
  refuseKeys(options, where, (key, value) => {
    const isOfOrm = hasOrm && value !== undefined ? ORM_ADVICE : undefined;
    return CONNECTION_KEYS.includes(key)
      ? undefined
      : (adviceFor(key) ?? isOfOrm ?? adviceForMisspelt(key));
  });
  for (const place of ['pool', 'driverOptions'] as const) {
    const inner = (options as { readonly [place]?: unknown })[place];
    if (typeof inner === 'object' && inner !== null) {
      refuseKeys(inner, `${where}: ${place}`, (key) =>
        NOT_OF_THE_DRIVER.includes(key) ? adviceFor(key) : undefined,
      );
    }
  }
}

function refuseKeys(
  options: object,
  where: string,
  adviceOn: (key: string, value: unknown) => string | undefined,
): void {
  for (const [key, value] of Object.entries(options)) {
    const advice = adviceOn(key, value);
    if (advice !== undefined) {
      throw new InvalidOptionsError(
        `${where} has ${key}: ${inspect(value, { depth: 0 })}. ${advice}`,
      );
    }
  }
}

const ORM_ADVICE =
  'It has no effect beside orm. Give it to the MikroORM.init() that makes the orm, or leave orm out.';

/** Options of ours whose names no driver has, so that they are in the wrong place inside of its own. */
const NOT_OF_THE_DRIVER = CONNECTION_KEYS.filter((key) => !['name', 'orm', 'role'].includes(key));

function adviceForMisspelt(key: string): string | undefined {
  if (MIKRO_ORM_KEYS.includes(key)) {
    return undefined;
  }
  const meant =
    misspeltKey(key, CONNECTION_KEYS) ?? misspeltKey(key, MIKRO_ORM_KEYS, { typosInShort: 1 });
  return meant === undefined ? undefined : `There is no such option. Did you mean ${meant}?`;
}

/** Where a key has an effect; `undefined` where it has none anywhere. */
function adviceFor(key: string): string | undefined {
  const others = Object.values<Place>(PLACES)
    .filter(({ keys, isApart }) => isApart !== true && keys.includes(key))
    .map(({ belongs }) => belongs);
  return others.length === 0 ? undefined : `It has no effect there; it belongs ${listOf(others)}.`;
}

function listOf(places: readonly string[]): string {
  const last = places.slice(-1);
  const others = places.slice(0, -1);
  return [...(others.length === 0 ? [] : [others.join(', ')]), ...last].join(' or ');
}
