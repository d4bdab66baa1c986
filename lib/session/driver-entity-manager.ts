import type { EntityManager as CoreEntityManager } from '@mikro-orm/core';

/**
 * The entity manager of the driver, with its query builder and Kysely, where `@mikro-orm/postgresql` is
 * installed; else that of MikroORM's core.
 *
 * @publicApi
 * @ts-ignore The package is an optional peer: where it is not installed, its type is `any`. */
// In the declarations the type is one line, so the last line of that comment is about all of it.
export type DriverEntityManager = 0 extends 1 & import('@mikro-orm/postgresql').EntityManager
  ? CoreEntityManager
  : import('@mikro-orm/postgresql').EntityManager;
