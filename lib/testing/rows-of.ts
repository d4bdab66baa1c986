import type { PgClient, PgResult } from '../postgresql/pg-client.js';

/** The rows that one statement returns. */
export async function rowsOf(
  client: PgClient,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const result = (await client.query(sql, values)) as PgResult;
  return result.rows as Record<string, unknown>[];
}
