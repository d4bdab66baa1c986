import { ChangeSetType, wrap, type EntityManager, type UnitOfWork } from '@mikro-orm/core';

import { AsyncScope } from '../transaction/async-scope.js';
import { hasPendingEntities } from './changes.js';

export const LAST_FLUSH = Symbol('nestjs-db-context:last-flush');

/** An entity manager whose flushes take turns. */
interface FlushingManager extends EntityManager {
  /** The last flush that was asked for, until it has ended. */
  [LAST_FLUSH]?: Promise<void> | undefined;
}

const UNDER_WAY = Symbol('nestjs-db-context:flush-under-way');

/** A unit of work, with the two of its methods that are replaced. MikroORM declares one as private. */
interface UnitOfWorkInternals {
  clear(): void;
  postCommitCleanup(): void;
  /** What waited as its flush began, or after a `clear()` since; only while a flush is under way. */
  [UNDER_WAY]?: WaitingEntities | undefined;
}

/** Code of a flush, its hooks included. */
class FlushScope extends AsyncScope {
  readonly manager: EntityManager;

  constructor(manager: EntityManager) {
    super();
    this.manager = manager;
  }
}

/**
 * Runs the flushes of an entity manager one after another (F5). What a branch persists or removes
 * while the flush of another one is under way waits for the next flush (S3).
 *
 * MikroORM has a queue of its own, which is not enough: it never settles the flushes that wait when
 * one before them fails, and it forgets what nobody flushes before the last flush has ended.
 *
 * @param callsBack whether anything of it asks {@link isFlushing}: what is asked for from inside of it, and what
 *   MikroORM asks a connection for
 * @throws what `flush` throws, or what a flush threw that this one had to wait for: that one had
 *   taken the entities of this one as well, and MikroORM forgets what could not be written
 */
export async function flushInTurn(
  manager: FlushingManager,
  callsBack: boolean,
  flush: () => Promise<void>,
): Promise<void> {
  if (isFlushing(manager)) {
    // By a flush hook, which would wait for itself; MikroORM refuses it.
    await flush();
    return;
  }
  const keep = (): Promise<void> => keepLateEntities(manager.getUnitOfWork(false), flush);
  const run = (): Promise<void> => (callsBack ? new FlushScope(manager).during(keep) : keep());
  const before = manager[LAST_FLUSH];
  const result = before === undefined ? run() : before.then(run);
  manager[LAST_FLUSH] = result;
  try {
    await result;
  } finally {
    if (manager[LAST_FLUSH] === result) {
      // Not deleted: an object that loses a property is slow from then on.
      manager[LAST_FLUSH] = undefined;
    }
  }
}

/** Whether a flush of the entity manager has been asked for and has not ended. */
export function isFlushUnderWay(manager: FlushingManager): boolean {
  return manager[LAST_FLUSH] !== undefined;
}

/** Whether the calling code is part of a flush of the entity manager that calls back: a hook, or MikroORM itself. */
export function isFlushing(manager: EntityManager): boolean {
  return (
    !AsyncScope.isEmpty &&
    AsyncScope.innermost(FlushScope, (scope) => scope.manager === manager && !scope.isOver) !==
      undefined
  );
}

function keepLateEntities(uow: UnitOfWork, flush: () => Promise<void>): Promise<void> {
  prepareFlushes(uow);
  (uow as unknown as UnitOfWorkInternals)[UNDER_WAY] = waitingEntities(uow);
  return flush();
}

/** Replaces the methods of a unit of work that forget entities; done with its first flush, or before. */
export function prepareFlushes(uow: UnitOfWork): void {
  const internals = uow as unknown as UnitOfWorkInternals;
  if (internals.postCommitCleanup !== cleanUp) {
    internals.postCommitCleanup = cleanUp;
    internals.clear = clear;
    internals[UNDER_WAY] = undefined;
  }
}

/** In place of `UnitOfWork.clear()`, which calls `postCommitCleanup()`: it forgets all entities. */
function clear(this: UnitOfWork): void {
  const internals = this as unknown as UnitOfWorkInternals;
  const isUnderWay = internals[UNDER_WAY] !== undefined;
  internals[UNDER_WAY] = undefined;
  (Object.getPrototypeOf(this) as UnitOfWorkInternals).clear.call(this);
  if (isUnderWay) {
    internals[UNDER_WAY] = waitingEntities(this);
  }
}

/**
 * In place of `UnitOfWork.postCommitCleanup()`, with which a flush ends: it empties all stacks, also
 * of the entities that came after the flush had computed what it writes.
 */
function cleanUp(this: UnitOfWork): void {
  const internals = this as unknown as UnitOfWorkInternals;
  const early = internals[UNDER_WAY];
  internals[UNDER_WAY] = undefined;
  const late =
    early === undefined || !hasPendingEntities(this) ? undefined : lateEntities(this, early);
  (Object.getPrototypeOf(this) as UnitOfWorkInternals).postCommitCleanup.call(this);
  // Through the methods, since automatic flushes depend on more than the stacks. Without cascades,
  // which were done when the entity came.
  late?.persisted.forEach((entity) => this.persist(entity, undefined, { cascade: false }));
  late?.removed.forEach((entity) => this.remove(entity, undefined, { cascade: false }));
  late?.orphaned.forEach((entity) => this.scheduleOrphanRemoval(entity, new Set([entity])));
}

/** What waits to be written. */
interface WaitingEntities {
  readonly persisted: ReadonlySet<object>;
  readonly removed: ReadonlySet<object>;
  readonly orphaned: ReadonlySet<object>;
}

/** The entities to be kept for the next flush. */
interface LateEntities {
  readonly persisted: readonly object[];
  readonly removed: readonly object[];
  readonly orphaned: readonly object[];
}

const NOTHING: ReadonlySet<object> = new Set();
const NONE: readonly object[] = [];
const NOTHING_WAITS: WaitingEntities = {
  persisted: NOTHING,
  removed: NOTHING,
  orphaned: NOTHING,
};

function waitingEntities(uow: UnitOfWork): WaitingEntities {
  if (!hasPendingEntities(uow)) {
    return NOTHING_WAITS;
  }
  return {
    persisted: new Set(uow.getPersistStack()),
    removed: new Set(uow.getRemoveStack()),
    orphaned: new Set(uow.getOrphanRemoveStack()),
  };
}

/**
 * The entities that wait to be written and that the flush which ends now did not try to write.
 *
 * @param early what waited as it began, which MikroORM forgets if the flush has failed
 */
function lateEntities(uow: UnitOfWork, early: WaitingEntities): LateEntities | undefined {
  // Nearly always none: MikroORM persists what it has found changed, and that is managed.
  const isNewLate = (each: object): boolean => !early.persisted.has(each) && isNew(each);
  const persisted = [...uow.getPersistStack()].filter(isNewLate);
  const removed = without(uow.getRemoveStack(), early.removed);
  const orphaned = without(uow.getOrphanRemoveStack(), early.orphaned);
  if (persisted.length + removed.length + orphaned.length === 0) {
    return undefined;
  }
  const changeSets = uow.getChangeSets();
  const tried = new Set<object>(changeSets.map(({ entity }) => entity as object));
  const deleted = new Set<object>(
    changeSets
      .filter(({ type }) => type === ChangeSetType.DELETE || type === ChangeSetType.DELETE_EARLY)
      .map(({ entity }) => entity as object),
  );
  return {
    persisted: persisted.filter((each) => !tried.has(each)),
    removed: removed.filter((each) => !deleted.has(each)),
    orphaned: orphaned.filter((each) => !deleted.has(each)),
  };
}

function without(entities: ReadonlySet<object>, others: ReadonlySet<object>): readonly object[] {
  return entities.size === 0 ? NONE : [...entities].filter((each) => !others.has(each));
}

/** Whether a flush only finds the entity if it was persisted: it looks through all that are managed. */
function isNew(entity: object): boolean {
  const { __managed, __originalEntityData } = wrap(entity, true);
  return !__managed && __originalEntityData === undefined;
}
