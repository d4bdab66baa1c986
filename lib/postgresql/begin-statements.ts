import { hasSettings, variableText, type TransactionSettings } from './transaction-settings.js';

/** One of the statements that begin a transaction, with the values of its parameters. */
export interface BeginStatement {
  readonly sql: string;
  readonly values: readonly unknown[];
}

const PLAIN_BEGIN: readonly BeginStatement[] = [{ sql: 'begin', values: [] }];

/** The parameters of the server that stand behind the timeouts of {@link TransactionSettings}. */
const PARAMETERS = {
  statementTimeoutMs: 'statement_timeout',
  lockTimeoutMs: 'lock_timeout',
  idleTimeoutMs: 'idle_in_transaction_session_timeout',
} as const satisfies { [K in keyof TransactionSettings]?: string };

const PARAMETER_KEYS = Object.keys(PARAMETERS) as readonly (keyof typeof PARAMETERS)[];

/**
 * What begins a transaction with its settings (C7): BEGIN, and at most one statement more. `set_config(..., true)` is `SET
 * LOCAL` that takes parameters, see
 * https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET
 */
export function beginStatements(settings: TransactionSettings): readonly BeginStatement[] {
  if (!hasSettings(settings)) {
    return PLAIN_BEGIN;
  }
  const begin = { sql: beginSql(settings), values: [] };
  const parameters = hasParameters(settings) ? localParameters(settings) : [];
  if (parameters.length === 0) {
    return [begin];
  }
  const calls = parameters.map(
    (_, index) => `set_config($${2 * index + 1}, $${2 * index + 2}, true)`,
  );
  return [begin, { sql: `select ${calls.join(', ')}`, values: parameters.flat() }];
}

/**
 * The isolation levels in which each statement has a snapshot of its own, so that it makes no
 * difference to a read which transaction it is in.
 */
const LEVELS_OF_READS = ['read committed', 'read uncommitted'] as const;

/** Whether a read may be in another transaction than the statements after it, without a difference. */
export function mayReadAhead({ isolationLevel, deferrable }: TransactionSettings): boolean {
  const level = isolationLevel ?? LEVELS_OF_READS[0];
  return LEVELS_OF_READS.some((each) => each === level) && deferrable !== true;
}

/** See https://www.postgresql.org/docs/current/sql-begin.html */
function beginSql(settings: TransactionSettings): string {
  const { begin, readOnly, deferrable } = settings;
  const isolationLevel =
    settings.isolationLevel ?? (begin === 'first-write' ? LEVELS_OF_READS[0] : undefined);
  const level = isolationLevel === undefined ? '' : ` isolation level ${isolationLevel}`;
  const access = readOnly === undefined ? '' : readOnly ? ' read only' : ' read write';
  const wait = deferrable === undefined ? '' : deferrable ? ' deferrable' : ' not deferrable';
  return `begin${level}${access}${wait}`;
}

function hasParameters(settings: TransactionSettings): boolean {
  return (
    settings.sessionVariables !== undefined ||
    settings.role !== undefined ||
    PARAMETER_KEYS.some((key) => settings[key] !== undefined)
  );
}

/**
 * Names and values of the parameters to be set for the transaction. The role comes last: it may not be
 * allowed to set those before it.
 */
function localParameters(settings: TransactionSettings): (readonly [string, string])[] {
  const timeouts = Object.entries(PARAMETERS).flatMap(([key, parameter]) => {
    const value = settings[key as keyof typeof PARAMETERS];
    return value === undefined ? [] : [[parameter, String(value)] as const];
  });
  const variables = Object.entries(settings.sessionVariables ?? {}).map(
    ([name, value]) => [name, variableText(value)] as const,
  );
  const role = settings.role === undefined ? [] : [['role', settings.role] as const];
  return [...timeouts, ...variables, ...role];
}
