import type { Attributes } from '@opentelemetry/api';

import { POOL } from '../observability/metrics.js';
import type { ConnectionInfo, ContextInfo } from '../telemetry/index.js';

// The semantic conventions of OpenTelemetry; their package would be one more dependency for a few words.
const DB_SYSTEM_NAME = 'db.system.name';
const DB_NAMESPACE = 'db.namespace';
const DB_OPERATION_NAME = 'db.operation.name';
export const DB_RESPONSE_STATUS_CODE = 'db.response.status_code';
const SERVER_ADDRESS = 'server.address';
const SERVER_PORT = 'server.port';
export const EXCEPTION_MESSAGE = 'exception.message';

// This library's.
const ORIGIN = 'db_context.origin';
const OUTER_ORIGIN = 'db_context.outer_origin';
export const ISOLATION_LEVEL = 'db_context.isolation_level';
export const READ_ONLY = 'db_context.read_only';
export const STATEMENTS = 'db_context.statements';
export const RETRIES = 'db_context.retries';
export const WAIT_TIME = 'db_context.wait_time';
export const SERVER_PROCESS_ID = 'db_context.server_process_id';
export const SAVEPOINT = 'db_context.savepoint';
export const REASON = 'db_context.reason';

/** What a span is of: `AUTOCOMMIT` is the use of a connection by a statement in no transaction. */
export type SpanOperation = 'TRANSACTION' | 'AUTOCOMMIT';

/** What the conventions say of a transaction before its first statement. */
export function attributesOf(
  connection: ConnectionInfo,
  operation: SpanOperation = 'TRANSACTION',
): Attributes {
  const { name, database, host } = connection;
  const portAt = host.lastIndexOf(':');
  return {
    [DB_SYSTEM_NAME]: 'postgresql',
    ...(database !== undefined && { [DB_NAMESPACE]: database }),
    [DB_OPERATION_NAME]: operation,
    [SERVER_ADDRESS]: host.slice(0, portAt).replace(/^\[(.*)\]$/, '$1'),
    [SERVER_PORT]: Number(host.slice(portAt + 1)),
    [POOL]: name,
  };
}

/** What has opened a context, and the outermost one around it, which holds what it waits for. */
export function originsOf(context: ContextInfo | undefined): Attributes {
  let outermost = context;
  while (outermost?.outer !== undefined) {
    outermost = outermost.outer;
  }
  const own = originOf(context);
  const outer = outermost === context ? undefined : originOf(outermost);
  return {
    ...(own !== undefined && { [ORIGIN]: own }),
    ...(outer !== undefined && { [OUTER_ORIGIN]: outer }),
  };
}

/** What has opened a context. A path stands there before its route is known, and may hold a value. */
export function originOf(context: ContextInfo | undefined): string | undefined {
  const { origin } = context ?? {};
  return origin?.includes('/') === true ? undefined : origin;
}
