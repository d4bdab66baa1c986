/**
 * Hands each MikroORM of PostgreSQL that a test file makes over to the library, and gives the runner what
 * runs the body of a test in a context.
 */
import { MikroORM } from '@mikro-orm/core';

import { DbConnection } from '../../lib/connection/db-connection.js';
import { ContextRegistry } from '../../lib/context/context-registry.js';
import { DbContext } from '../../lib/context/db-context.service.js';
import { resolveConnectionOptions } from '../../lib/options/resolve-connection-options.js';
import { endEachCallOf, endEachTransaction } from './autocommit.js';

const ORIGINALS: unique symbol = Symbol.for('nestjs-db-context:mikro-orm-originals');
const RUN: unique symbol = Symbol.for('nestjs-db-context:mikro-orm-tests');

/** What is exchanged; `new MikroORM()` and `MikroORM.init()` both come through `createEntityManager()`. */
interface Exchanged {
  createEntityManager: (this: Prototype) => void;
  close: (this: Prototype, force?: boolean) => Promise<void>;
}

interface Prototype extends Exchanged {
  [ORIGINALS]?: Exchanged;
}

const prototype = MikroORM.prototype as unknown as Prototype;
// This file is evaluated anew for each test file, MikroORM is not.
const { createEntityManager, close } = (prototype[ORIGINALS] ??= {
  createEntityManager: prototype.createEntityManager,
  close: prototype.close,
});

const asOrm = (value: Prototype): MikroORM => value as unknown as MikroORM;
const report = (what: string, error: unknown): void => console.error(what, error);
const registry = new ContextRegistry({ report, warn: () => undefined }, {});
const dbContext = new DbContext(registry);
const names = new WeakMap<MikroORM, string>();
let count = 0;
const endsEach = process.env['MIKRO_ORM_TESTS_MODE'] === 'flush';

prototype.createEntityManager = function adopt(this: Prototype): void {
  const orm = asOrm(this);
  createEntityManager.call(this);
  if (!orm.driver.getDependencies().includes('pg')) {
    return;
  }
  count += 1;
  const name = `orm-${count}`;
  const { settings } = resolveConnectionOptions({ name, orm, resetOnRelease: 'never' });
  names.set(orm, name);
  registry.connections.register(new DbConnection(name, orm, settings, { ownsOrm: false, report }));
  if (endsEach) {
    endEachCallOf(orm.em);
  }
};

// An application closes its orm when no request runs any more; tests do it in their bodies.
prototype.close = async function closeAdopted(this: Prototype, force?: boolean): Promise<void> {
  const name = names.get(asOrm(this));
  if (name !== undefined && dbContext.isActive()) {
    await dbContext.commit(name);
  }
  await close.call(this, force);
};

// A test that failed may have left its clock to the next file.
(globalThis as unknown as { vi: { useRealTimers(): void } }).vi.useRealTimers();

if (endsEach) {
  endEachTransaction();
}

// Plain MikroORM does not flush at the end of a test either.
(globalThis as { [RUN]?: unknown })[RUN] = (name: string, body: () => Promise<void>) =>
  dbContext.runInNewContext(body, { name, commitOn: () => !endsEach });
