import { databaseUrlFrom } from '../../starter/database-url.js';
import type { Starter } from '../../starter/run-sample.js';
import type { DatabaseUrls } from '../app.module.js';

/** The databases that the environment names, or new ones. */
export async function findDatabases(starter: Starter): Promise<DatabaseUrls> {
  const own = databaseUrlFrom('DATABASE_URL');
  if (own === undefined) {
    const { sample, audit } = await starter.startPostgres(['sample', 'audit']);
    return { databaseUrl: sample, auditUrl: audit };
  }
  const audit = new URL(own);
  audit.pathname += '_audit';
  return {
    databaseUrl: own.href,
    auditUrl: (databaseUrlFrom('AUDIT_DATABASE_URL') ?? audit).href,
  };
}
