import { inspect } from 'node:util';

import type { Options } from '@mikro-orm/core';

import type { ResolvedLimits } from '../connection/connection-limits.js';
import type {
  ConnectionSettings,
  GlobalEntityManagerMode,
} from '../connection/connection-settings.js';
import type { DbConnection } from '../connection/db-connection.js';
import type { ResetMode } from '../connection/session-reset.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { checkTransactionSettings } from '../postgresql/transaction-settings.js';
import type { ConnectionTransactionOptions, DbConnectionOptions } from './connection-options.js';
import { DEFAULT_CONNECTION_NAME, DEFAULTS } from './defaults.js';
import { checkKeys } from './option-keys.js';
import { resolveFailoverOptions } from './resolve-failover-options.js';
import { resolveReplicaOptions } from './resolve-replica-options.js';

const RESET_MODES: readonly ResetMode[] = ['auto', 'always', 'never'];
const GLOBAL_MODES: readonly GlobalEntityManagerMode[] = ['session', 'own'];
const LIMIT_NAMES = Object.keys(DEFAULTS.limits) as (keyof ResolvedLimits)[];

/** The options of one connection, separated into those of this library and those of MikroORM. */
export interface ResolvedConnectionOptions {
  readonly name: string;
  readonly settings: ConnectionSettings<DbConnection>;
  readonly ormOptions: Partial<Options>;
}

/** The name of the connection that the options declare. */
export function connectionNameOf({ name = DEFAULT_CONNECTION_NAME }: DbConnectionOptions): string {
  return name;
}

/**
 * Checks the options of a connection, and fills in the defaults.
 *
 * @throws {@link InvalidOptionsError}
 */
export function resolveConnectionOptions(options: DbConnectionOptions): ResolvedConnectionOptions {
  const name = connectionNameOf(options);
  const where = `The connection "${name}"`;
  const {
    name: _name,
    readFrom,
    readYourWrites,
    transaction = {},
    sessionVariables,
    role,
    beforeSession,
    failover,
    resetOnRelease = DEFAULTS.resetOnRelease,
    globalEntityManager = DEFAULTS.globalEntityManager,
    ...others
  } = options;
  const reading = resolveReplicaOptions(
    {
      ...(readFrom !== undefined && { readFrom }),
      ...(readYourWrites !== undefined && { readYourWrites }),
    },
    name,
  );
  checkTransactionSettings(transaction, `${where}: its transaction`);
  checkKeys(transaction, 'transaction', `${where}: its transaction`);
  checkFunctions({ sessionVariables, role, beforeSession }, where);
  checkChoice(resetOnRelease, RESET_MODES, `${where} has resetOnRelease`);
  checkChoice(globalEntityManager, GLOBAL_MODES, `${where} has globalEntityManager`);
  return {
    name,
    settings: {
      limits: resolveLimits(options, where),
      transactionOptions: {
        transaction,
        ...(sessionVariables !== undefined && { sessionVariables }),
        ...(role !== undefined && { role }),
      },
      beforeSession,
      failover: failover && resolveFailoverOptions(failover, name),
      reading,
      resetOnRelease,
      globalEntityManager,
      checkTimeoutMs: DEFAULTS.check.timeoutMs,
    },
    ormOptions: withoutLimits(others),
  };
}

function checkChoice<T extends string>(value: T, choices: readonly T[], what: string): void {
  if (!choices.includes(value)) {
    throw new InvalidOptionsError(`${what}: ${inspect(value)}. Give one of ${choices.join(', ')}.`);
  }
}

/** Fills in the limits that are left out. */
function resolveLimits(options: DbConnectionOptions, where: string): ResolvedLimits {
  return Object.fromEntries(
    LIMIT_NAMES.map((key) => {
      const value = options[key] ?? DEFAULTS.limits[key];
      if (!isTimeLimit(value)) {
        throw new InvalidOptionsError(
          `${where} has ${key}: ${String(value)}. Give a number of milliseconds between 1 and ` +
            `${LONGEST_LIMIT_MS}.`,
        );
      }
      return [key, value];
    }),
  ) as unknown as ResolvedLimits;
}

function withoutLimits(options: object): Partial<Options> {
  const names: readonly string[] = LIMIT_NAMES;
  return Object.fromEntries(Object.entries(options).filter(([name]) => !names.includes(name)));
}

function checkFunctions(
  {
    sessionVariables,
    role,
    beforeSession,
  }: {
    [K in 'sessionVariables' | 'role' | 'beforeSession']:
      | ConnectionTransactionOptions[K]
      | undefined;
  },
  where: string,
): void {
  if (sessionVariables !== undefined && typeof sessionVariables !== 'function') {
    throw new InvalidOptionsError(
      `${where} has sessionVariables that are not a function. Write sessionVariables: (cls) => ` +
        "({ 'app.tenant': cls.get('tenant') }), or transaction: { sessionVariables } for fixed ones.",
    );
  }
  if (typeof role !== 'function' && role !== undefined) {
    checkTransactionSettings({ role }, where);
  }
  if (beforeSession !== undefined && typeof beforeSession !== 'function') {
    throw new InvalidOptionsError(
      `${where} has a beforeSession that is not a function. Write beforeSession: async (connection) => ` +
        '{ await connection.changeHost(await findPrimary()); }.',
    );
  }
}
