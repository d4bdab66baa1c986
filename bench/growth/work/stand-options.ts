import type { Options } from '@mikro-orm/core';

import { ormOptions, type Database } from '../../app/orm.js';
import { Row, accountClass, type AccountClass } from './entities.js';

/** Options of MikroORM for one database, the same for both sides. */
export interface DatabaseOptions {
  readonly name: string;
  readonly account: AccountClass;
  readonly options: Options;
}

/** @param count how many databases a unit of work may use; they differ in name only */
export function databaseOptions(database: Database, count: number): readonly DatabaseOptions[] {
  return Array.from({ length: count }, (_, index) => {
    const account = accountClass();
    return {
      name: index === 0 ? 'default' : `database${index + 1}`,
      account,
      options: { ...ormOptions(database), entities: index === 0 ? [account, Row] : [account] },
    };
  });
}
