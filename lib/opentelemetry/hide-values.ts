import type { Span } from '@opentelemetry/api';

import { maskedSql } from '../telemetry/masked-sql.js';

/**
 * Keeps values out of the spans of `@opentelemetry/instrumentation-pg`, as its option `requestHook`: MikroORM
 * writes them into the text of a statement, which those spans show as `db.query.text`; and some messages of
 * the server quote them. Each literal becomes a question mark, and the status of a span has no message.
 *
 * @param span of the statement
 * @param info what the instrumentation says of the statement
 *
 * @example
 * ```ts
 * new PgInstrumentation({ requestHook: hideValues });
 * ```
 * @publicApi
 */
export function hideValues(span: Span, info: { readonly query: { readonly text: string } }): void {
  if (!span.isRecording()) {
    return;
  }
  span.setAttribute('db.query.text', maskedSql(info.query.text));
  const setStatus = span.setStatus.bind(span);
  // The instrumentation sets the status as the statement fails, with the message of the server.
  span.setStatus = ({ code }) => setStatus({ code });
}
