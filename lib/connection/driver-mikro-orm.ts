import type { MikroORM } from '@mikro-orm/core';

/** @ts-ignore The package is an optional peer: where it is not installed, its type is `any`. */
type PostgreSqlMikroORM = import('@mikro-orm/postgresql').MikroORM;

/**
 * MikroORM with the entity manager of the driver (its query builder, `execute()` and Kysely), where
 * `@mikro-orm/postgresql` is installed; else that of MikroORM's core.
 *
 * @publicApi
 */
export type DriverMikroORM = 0 extends 1 & PostgreSqlMikroORM ? MikroORM : PostgreSqlMikroORM;
