import type { Span } from '@opentelemetry/api';

import { maskedSql } from '../telemetry/masked-sql.js';

/**
 * Keeps values out of the spans of `@opentelemetry/instrumentation-pg`, as its option `requestHook`: MikroORM
 * writes them into the text of a statement, which those spans show as `db.query.text`; and some messages of
 * the server quote them. Each literal becomes a question mark, also in the name of the span, and its status has no
 * message.
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
export function hideValues(
  span: Span,
  info: {
    readonly query: { readonly text: string };
    readonly connection?: { readonly database?: string | undefined };
  },
): void {
  if (!span.isRecording()) {
    return;
  }
  const masked = maskedSql(info.query.text);
  span.setAttribute('db.query.text', masked);
  const { database } = info.connection ?? {};
  span.updateName(`pg.query${operationOf(masked)}${database === undefined ? '' : ` ${database}`}`);
  const setStatus = span.setStatus.bind(span);
  // The instrumentation sets the status as the statement fails, with the message of the server.
  span.setStatus = ({ code }) => setStatus({ code });
}

/** The statements of a masked text by their first words: `:BEGIN;SELECT`. */
function operationOf(masked: string): string {
  const [words] = /^(?:[a-z]+\s*;\s*)*[a-z]*/i.exec(masked)!;
  return words === '' ? '' : `:${words.replaceAll(/\s/g, '').toUpperCase()}`;
}
