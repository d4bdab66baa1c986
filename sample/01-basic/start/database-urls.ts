import type { DatabaseUrls } from '../app.module.js';

/**
 * The databases of the sample on one server.
 *
 * @param auditUrl defaults to the same server, and the name of the database with `_audit` after it
 * @throws Error when a URL is none
 */
export function databaseUrls(databaseUrl: string, auditUrl?: string): DatabaseUrls {
  const url = parse(databaseUrl, 'DATABASE_URL');
  url.pathname += '_audit';
  const audit = auditUrl === undefined ? url : parse(auditUrl, 'AUDIT_DATABASE_URL');
  return { databaseUrl, auditUrl: audit.href };
}

function parse(text: string, variable: string): URL {
  const url = URL.parse(text);
  if (url === null || url.pathname.length < 2) {
    throw new Error(`${variable} must look like postgres://user:password@host:5432/database`);
  }
  return url;
}
