import { MikroORM, type EntityName, type Options } from '@mikro-orm/core';

import {
  DEFAULT_CONNECTION_NAME,
  DEFAULTS,
  type ConnectionTransactionOptions,
  type DbConnectionOptions,
} from '../db-context.options.js';
import { InvalidOptionsError } from '../errors.js';
import { checkTransactionSettings } from '../postgresql/transaction-settings.js';
import { DbConnection, type FaultReporter, type ResolvedLimits } from './db-connection.js';
import { resolveReadOptions } from './read-options.js';
import { assertSupported } from './supported-orm.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from './time-limit.js';

type LimitName = keyof ResolvedLimits;

const LIMIT_NAMES = [
  'acquireTimeoutMs',
  'deadlockTimeoutMs',
  'transactionTimeoutMs',
  'drainTimeoutMs',
  'endTimeoutMs',
  'savepointTimeoutMs',
  'hostDrainTimeoutMs',
] as const satisfies readonly LimitName[];

/** The name that options declare. */
export function connectionNameOf(options: DbConnectionOptions): string {
  return options.name ?? DEFAULT_CONNECTION_NAME;
}

/**
 * Makes a connection from its options. Nothing connects to the database yet (L1).
 *
 * @param featureEntities entities that feature modules add
 * @throws {@link InvalidOptionsError}, or MikroORM's error for metadata that it cannot read
 */
export async function createConnection(
  options: DbConnectionOptions,
  featureEntities: readonly EntityName[],
  report: FaultReporter,
): Promise<DbConnection> {
  const name = connectionNameOf(options);
  const { readFrom, readYourWrites, ...unread } = options;
  const reading = resolveReadOptions(
    {
      ...(readFrom !== undefined && { readFrom }),
      ...(readYourWrites !== undefined && { readYourWrites }),
    },
    name,
  );
  const { transaction, rest: others } = splitTransaction(name, unread as DbConnectionOptions);
  const { limits, rest } = splitLimits(name, others);
  const isHandedOver = options.orm !== undefined;
  const orm = isHandedOver ? options.orm : await initOrm(name, rest, featureEntities, limits);
  assertSupported(name, orm);
  return new DbConnection(name, orm, limits, transaction, !isHandedOver, report, reading);
}

async function initOrm(
  name: string,
  options: Partial<Options>,
  featureEntities: readonly EntityName[],
  limits: ResolvedLimits,
): Promise<MikroORM> {
  const { driver, driverOptions, entities = [] } = options;
  if (driver === undefined) {
    throw new InvalidOptionsError(
      `The connection "${name}" has neither "orm" nor "driver". Wrap its options in defineConfig() of ` +
        `"@mikro-orm/postgresql": connections: [defineConfig({ clientUrl, entities })].`,
    );
  }
  const isPlain = driverOptions === undefined || driverOptions.constructor === Object;
  return MikroORM.init({
    // MikroORM would look for the database, and create it, on a connection of its own.
    ensureDatabase: false,
    contextName: name,
    ...options,
    entities: [...new Set([...entities, ...(featureEntities as typeof entities)])],
    ...(isPlain && {
      driverOptions: {
        connectionTimeoutMillis: limits.acquireTimeoutMs,
        keepAlive: true,
        // An idle connection, or one whose goodbye a dead link never answers, is no reason to live on.
        allowExitOnIdle: true,
        ...(driverOptions as object | undefined),
      },
    }),
  });
}

function splitLimits(
  name: string,
  options: DbConnectionOptions,
): { limits: ResolvedLimits; rest: Partial<Options> } {
  const rest: Partial<Options> & { -readonly [K in LimitName]?: number } = { ...options };
  delete rest.name;
  const limits = {} as Record<LimitName, number>;
  for (const key of LIMIT_NAMES) {
    const value = options[key] ?? DEFAULTS[key];
    if (!isTimeLimit(value)) {
      throw new InvalidOptionsError(
        `The connection "${name}" has ${key}: ${String(value)}. Give a number of milliseconds between 1 ` +
          `and ${LONGEST_LIMIT_MS}.`,
      );
    }
    limits[key] = value;
    delete rest[key];
  }
  return { limits, rest };
}

function splitTransaction(
  name: string,
  options: DbConnectionOptions,
): { transaction: ConnectionTransactionOptions; rest: DbConnectionOptions } {
  const { transaction = {}, sessionVariables, role, beforeSession, failover, ...rest } = options;
  const where = `The connection "${name}"`;
  checkTransactionSettings(transaction, `${where}: its transaction`);
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
  return {
    transaction: {
      transaction,
      ...(sessionVariables !== undefined && { sessionVariables }),
      ...(role !== undefined && { role }),
      ...(beforeSession !== undefined && { beforeSession }),
      ...(failover !== undefined && { failover }),
    },
    rest: rest as DbConnectionOptions,
  };
}
