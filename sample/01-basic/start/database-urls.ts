import type { DatabaseUrls } from '../app.module.js';

/**
 * The databases of the sample on one server.
 *
 * @param auditUrl defaults to the same server, and the name of the database with `_audit` after it
 * @throws Error when a URL is none
 */
export function databaseUrls(databaseUrl: string, auditUrl?: string): DatabaseUrls {
  const url = URL.parse(databaseUrl);
  if (url === null || url.pathname.length < 2) {
    throw new Error('DATABASE_URL must look like postgres://user:password@host:5432/database');
  }
  url.pathname += '_audit';
  return { databaseUrl, auditUrl: auditUrl ?? url.href };
}
