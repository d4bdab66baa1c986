import type { IsolationLevel } from '@mikro-orm/core';

/** What BEGIN itself can say about a transaction. */
export interface BeginSettings {
  readonly isolationLevel?: IsolationLevel | `${IsolationLevel}`;
  readonly readOnly?: boolean;
}

/** See https://www.postgresql.org/docs/current/sql-begin.html */
export function beginSql({ isolationLevel, readOnly }: BeginSettings): string {
  return [
    'begin',
    isolationLevel === undefined ? '' : ` isolation level ${isolationLevel}`,
    readOnly === true ? ' read only' : '',
  ].join('');
}
