import type { MikroORM as CoreMikroORM } from '@mikro-orm/core';

/**
 * MikroORM with the entity manager of the driver (its query builder, `execute()` and Kysely), where
 * `@mikro-orm/postgresql` is installed; else that of MikroORM's core.
 *
 * @publicApi
 * @ts-ignore The package is an optional peer: where it is not installed, its type is `any`. */
// In the declarations the type is one line, so the last line of that comment is about all of it.
export type DriverMikroORM = 0 extends 1 & import('@mikro-orm/postgresql').MikroORM
  ? CoreMikroORM
  : import('@mikro-orm/postgresql').MikroORM;
