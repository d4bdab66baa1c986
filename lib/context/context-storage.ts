import { ClsServiceManager } from 'nestjs-cls';

import type { DbContainer } from './container.js';

// Shared by the CommonJS and the ESM build of whatever else uses the same store.
const KEY = Symbol.for('nestjs-db-context:containers');

/** The containers that the current code runs in, one per application, innermost first. */
interface Entry {
  /** The application's host; two applications in one process do not see each other's. */
  readonly owner: object;
  readonly container: DbContainer | undefined;
  readonly outer: Entry | undefined;
}

/**
 * The container of `owner` that the current code runs in.
 *
 * @param fallback where the code runs in none, and was not put outside of any on purpose
 */
export function currentContainer(owner: object, fallback?: DbContainer): DbContainer | undefined {
  let entry = currentEntry();
  while (entry !== undefined && entry.owner !== owner) {
    entry = entry.outer;
  }
  return entry === undefined ? fallback : entry.container;
}

/**
 * Runs `callback` with `container` as the current one of `owner`; with `undefined`, outside of any.
 * The store is a copy of the application's own, which goes on seeing its values.
 */
export function runWithContainer<T>(
  owner: object,
  container: DbContainer | undefined,
  callback: () => T,
): T {
  const cls = ClsServiceManager.getClsService();
  const entry: Entry = { owner, container, outer: without(owner, currentEntry()) };
  return cls.runWith({ ...cls.get(), [KEY]: entry }, callback);
}

/** What this entry hides for good; kept, it would chain all contexts of a job that restarts itself. */
function without(owner: object, entry: Entry | undefined): Entry | undefined {
  if (entry === undefined) {
    return undefined;
  }
  const outer = without(owner, entry.outer);
  return entry.owner === owner ? outer : { ...entry, outer };
}

function currentEntry(): Entry | undefined {
  return ClsServiceManager.getClsService().get<Entry | undefined>(KEY as never);
}
