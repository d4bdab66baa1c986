import { DriverException } from '@mikro-orm/core';
import { DbContextError, PartialCommitError, UnexpectedRollbackError } from 'nestjs-db-context';

/** What a program throws by itself. */
export class Boom extends Error {}

/** The class of an error, and what the promises say of its fields. */
export function labelOf(error: unknown): string {
  const { name } = (error as Error).constructor;
  if (error instanceof UnexpectedRollbackError) {
    const { reason, cause } = error;
    return `${name}(${reason === 'failed-statement' ? String(codeOf(cause)) : reason})`;
  }
  if (error instanceof PartialCommitError) {
    const outcomes = error.outcomes.map((each) => `${each.connectionName}:${each.outcome}`);
    return `${name}(${outcomes.join(' ')})`;
  }
  // This library's own errors become instances of it, too, where MikroORM passes them on.
  const isOfServer = error instanceof DriverException && !(error instanceof DbContextError);
  return isOfServer ? `${name}(${String(codeOf(error))})` : name;
}

function codeOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | undefined)?.code;
}
