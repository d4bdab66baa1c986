import type { IsolationLevel } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';

/** A value of a variable; PostgreSQL keeps all of them as text, a `Date` in ISO 8601. */
export type SessionVariableValue = string | number | boolean | Date;

/** Variables of a transaction by name, for `current_setting(name)` in policies and triggers. */
export type SessionVariables = Readonly<Record<string, SessionVariableValue>>;

/** The isolation levels of PostgreSQL; MikroORM has one more, for another server. */
export type PostgresIsolationLevel = Exclude<IsolationLevel, IsolationLevel.SNAPSHOT>;

/**
 * How a transaction begins. All of these settings are gone when the transaction ends, also the
 * variables and the role (`SET LOCAL`), so none reaches the next user of the pooled connection.
 *
 * @publicApi
 */
export interface TransactionSettings {
  /**
   * What begins the transaction. With `'first-write'` plain reads before it are each in a read-only
   * transaction of their own, in one round trip, and hold no connection afterwards; the transaction
   * begins with the first statement that writes, locks, or is not known to be a plain read. It is
   * `read committed` unless a level is given, and of no effect with a higher one.
   * @defaultValue 'first-statement'
   */
  readonly begin?: 'first-statement' | 'first-write';
  /**
   * See https://www.postgresql.org/docs/current/transaction-iso.html
   * @defaultValue the server's, `read committed` unless configured otherwise
   */
  readonly isolationLevel?: PostgresIsolationLevel | `${PostgresIsolationLevel}`;
  /**
   * Whether writing is refused: by {@link ReadOnlyTransactionError} for a flush, before it sends
   * anything, and by the server (25006) for all else.
   */
  readonly readOnly?: boolean;
  /** Together with `serializable` and `readOnly`: waits for a snapshot that cannot fail later. */
  readonly deferrable?: boolean;
  /** Longest time of one statement, in whole milliseconds (`statement_timeout`, error 57014). */
  readonly statementTimeoutMs?: number;
  /** Longest wait for one lock, in whole milliseconds (`lock_timeout`, error 55P03). */
  readonly lockTimeoutMs?: number;
  /**
   * Longest pause between two statements, in whole milliseconds, after which the server ends the
   * connection (`idle_in_transaction_session_timeout`, error 25P03).
   */
  readonly idleTimeoutMs?: number;
  /** Variables for row-level security; they are sent as parameters, so values may hold anything. */
  readonly sessionVariables?: SessionVariables;
  /** The role that `current_user` is; the user of the connection must be a member of it. */
  readonly role?: string;
}

const ISOLATION_LEVELS: readonly string[] = [
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
];
const SWITCHES = ['readOnly', 'deferrable'] as const;
const TIMEOUTS = ['statementTimeoutMs', 'lockTimeoutMs', 'idleTimeoutMs'] as const;
const BEGINS: readonly string[] = ['first-statement', 'first-write'];
/** The names of all settings. */
export const TRANSACTION_SETTINGS = [
  'begin',
  ...SWITCHES,
  ...TIMEOUTS,
  'isolationLevel',
  'sessionVariables',
  'role',
] as const satisfies (keyof TransactionSettings)[];

/** Largest value of an integer parameter of PostgreSQL. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * Checks the values of settings: types do not reach options that come from the environment, or from
 * JavaScript.
 *
 * @param where begins the sentence of the error
 * @throws {@link InvalidOptionsError}
 */
export function checkTransactionSettings(settings: TransactionSettings, where: string): void {
  const refuse = (key: string, value: unknown, advice: string): never => {
    throw new InvalidOptionsError(`${where} has ${key}: ${describe(value)}. Give ${advice}.`);
  };
  if (typeof settings !== 'object' || settings === null) {
    throw new InvalidOptionsError(
      `${where} is ${describe(settings)}. Give an object, such as { readOnly: true }.`,
    );
  }
  const { begin, isolationLevel, role, sessionVariables } = settings;
  if (begin !== undefined && !BEGINS.includes(begin)) {
    refuse('begin', begin, `one of ${BEGINS.join(', ')}`);
  }
  if (isolationLevel !== undefined && !ISOLATION_LEVELS.includes(isolationLevel)) {
    refuse('isolationLevel', isolationLevel, `one of ${ISOLATION_LEVELS.join(', ')}`);
  }
  for (const key of SWITCHES) {
    if (!['undefined', 'boolean'].includes(typeof settings[key])) {
      refuse(key, settings[key], 'true or false');
    }
  }
  for (const key of TIMEOUTS) {
    const value = settings[key];
    if (value !== undefined && !(Number.isInteger(value) && value > 0 && value <= LONGEST_MS)) {
      refuse(key, value, `a whole number of milliseconds between 1 and ${LONGEST_MS}`);
    }
  }
  if (role !== undefined && (typeof role !== 'string' || role === '')) {
    refuse('role', role, 'the name of a role');
  }
  if (sessionVariables !== undefined) {
    if (typeof sessionVariables !== 'object' || sessionVariables === null) {
      refuse('sessionVariables', sessionVariables, "an object, such as { 'app.tenant': '1' }");
    }
    for (const [name, value] of Object.entries(sessionVariables)) {
      if (!isVariableValue(value)) {
        refuse(
          `sessionVariables['${name}']`,
          value,
          'a string, a finite number, a boolean or a valid Date, or leave the variable out',
        );
      }
    }
  }
}

/** None at all: most transactions are given none, and this one is recognised without a look into it. */
export const NO_SETTINGS: TransactionSettings = Object.freeze({});

/** Later settings win over earlier ones; variables do so one by one. */
export function mergeSettings(
  ...layers: readonly (TransactionSettings | undefined)[]
): TransactionSettings {
  const given = layers.filter((layer) => layer !== undefined && hasSettings(layer));
  if (given.length < 2) {
    return given[0] ?? NO_SETTINGS;
  }
  const merged: Record<string, unknown> = {};
  let variables: SessionVariables | undefined;
  for (const layer of given) {
    for (const [key, value] of Object.entries(layer ?? {})) {
      if (value !== undefined) {
        merged[key] = value;
      }
    }
    if (layer?.sessionVariables !== undefined) {
      variables = { ...variables, ...layer.sessionVariables };
    }
  }
  return variables === undefined ? merged : { ...merged, sessionVariables: variables };
}

/** Whether any setting is given. */
export function hasSettings(settings: TransactionSettings): boolean {
  return settings !== NO_SETTINGS && Object.values(settings).some((value) => value !== undefined);
}

/**
 * Whether a transaction that has begun with `current` fulfils the settings that are asked for. Any
 * transaction fulfils `readOnly: false`.
 */
export function isCovered(asked: TransactionSettings, current: TransactionSettings): boolean {
  // The transaction has begun already, so what begins it makes no difference any more.
  const { sessionVariables = {}, begin: _, ...rest } = asked;
  const isSame = ([key, value]: [string, unknown]): boolean =>
    value === undefined || value === (current[key as keyof typeof rest] ?? false);
  return (
    Object.entries({ ...rest, readOnly: rest.readOnly === true ? true : undefined }).every(
      isSame,
    ) &&
    Object.entries(sessionVariables).every(([name, value]) => {
      const own = current.sessionVariables?.[name];
      return own !== undefined && variableText(own) === variableText(value);
    })
  );
}

/** The text that is sent for the value of a variable. */
export function variableText(value: SessionVariableValue): string {
  return value instanceof Date ? value.toISOString() : String(value);
}

function isVariableValue(value: unknown): value is SessionVariableValue {
  return (
    typeof value === 'string' ||
    typeof value === 'boolean' ||
    Number.isFinite(value) ||
    (value instanceof Date && !Number.isNaN(value.getTime()))
  );
}

function describe(value: unknown): string {
  if (typeof value === 'string') {
    return `'${value}'`;
  }
  return typeof value === 'object' && value !== null && !(value instanceof Date)
    ? 'an object'
    : String(value);
}
