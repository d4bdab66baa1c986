import {
  EntityManager,
  EventType,
  ReferenceKind,
  Utils,
  type Dictionary,
  type UnitOfWork,
} from '@mikro-orm/core';

import { ReadOnlyTransactionError } from '../errors.js';
import { asKyselyTransaction } from './kysely-transaction.js';

/** Whether entities wait to be inserted or removed. */
export function hasPendingEntities(uow: UnitOfWork): boolean {
  return (
    uow.getPersistStack().size > 0 ||
    uow.getRemoveStack().size > 0 ||
    uow.getOrphanRemoveStack().size > 0
  );
}

/**
 * Whether a flush would write anything, before hooks add to it. Not to be asked while a flush is under
 * way: it computes the same change sets.
 */
export function hasChanges(manager: EntityManager): boolean {
  const uow = manager.getUnitOfWork(false);
  if (hasPendingEntities(uow)) {
    return true;
  }
  try {
    return ownChanges(manager, uow) ?? changedEntities(uow).length > 0;
  } catch {
    // An entity that cannot be written is a change; the flush says what is wrong with it.
    return true;
  }
}

/**
 * Whether a managed entity has changed, by its own columns alone: a third of what it takes to compute all that a
 * flush would write. That is enough where entities lead to no others.
 *
 * @returns `undefined` where it takes more to know
 */
function ownChanges(manager: EntityManager, uow: UnitOfWork): boolean | undefined {
  for (const entity of uow.getIdentityMap()) {
    const { relations } = manager.getMetadata(entity.constructor as never);
    const original = uow.getOriginalEntityData(entity);
    // Of a reference that was never loaded, nothing is known to compare with.
    if (relations.length > 0 || original === undefined) {
      return undefined;
    }
    if (differs(entity, original, manager)) {
      return true;
    }
  }
  return false;
}

/** Whether a flush would write columns of an entity. @throws what one of its types throws */
function differs(entity: object, original: object, manager: EntityManager): boolean {
  const { readonly } = manager.getMetadata(entity.constructor as never);
  if (readonly === true) {
    return false;
  }
  const comparator = EntityManager.prototype.getComparator.call(manager);
  return !comparator.matching(
    entity.constructor as never,
    original,
    comparator.prepareEntity(entity),
  );
}

/** As many as can be looked through for less than what a flush takes that writes nothing. */
const FEW_ENTITIES = 16;

const FLUSH_EVENTS = [EventType.beforeFlush, EventType.onFlush, EventType.afterFlush] as const;

/**
 * Whether a flush can be left out: it would write nothing, and no subscriber would hear of it. A session that only
 * read then ends without one. Where many entities are managed, only the flush itself looks through them.
 */
export function isFlushIdle(manager: EntityManager): boolean {
  for (const subscriber of manager.getEventManager().getSubscribers()) {
    if (FLUSH_EVENTS.some((event) => subscriber[event] !== undefined)) {
      return false;
    }
  }
  const uow = manager.getUnitOfWork(false);
  let managed = 0;
  for (const _ of uow.getIdentityMap()) {
    managed++;
    if (managed > FEW_ENTITIES) {
      return false;
    }
  }
  return !hasChanges(manager);
}

/**
 * Class names of the entities of which a flush would write something. It only looks, so that it may be asked while
 * a flush is under way, whose entities it names as well.
 */
export function unsavedEntities(manager: EntityManager): readonly string[] {
  const uow = ownUnitOfWork(manager);
  const persisted = uow.getPersistStack();
  // MikroORM persists what a collection is filled with as it is loaded; that need not have changed.
  const changed = [...new Set([...persisted, ...uow.getIdentityMap()])].filter((entity) =>
    uow.getOriginalEntityData(entity) === undefined
      ? persisted.has(entity)
      : isChanged(entity, manager),
  );
  const unsaved = [...changed, ...uow.getRemoveStack(), ...uow.getOrphanRemoveStack()];
  return [...new Set(unsaved.map((entity) => entity.constructor.name))];
}

/** That of the manager itself, also where its methods stand for those of the session. */
function ownUnitOfWork(manager: EntityManager): UnitOfWork {
  return EntityManager.prototype.getUnitOfWork.call(manager, false);
}

function isChanged(entity: object, manager: EntityManager): boolean {
  const { readonly, relations } = manager.getMetadata(entity.constructor as never);
  const original = ownUnitOfWork(manager).getOriginalEntityData(entity);
  try {
    return (
      differs(entity, original!, manager) ||
      (readonly !== true &&
        relations.some(({ name }) => isChangedCollection((entity as Dictionary)[name])))
    );
  } catch {
    // It is for its flush to say that an entity cannot be written.
    return false;
  }
}

/** Whether a collection is written by itself; of others it is their entities that have changed. */
function isChangedCollection(value: unknown): boolean {
  return (
    Utils.isCollection(value) &&
    value.isDirty() &&
    (value.property.kind === ReferenceKind.MANY_TO_MANY || value.getSnapshot() === undefined)
  );
}

/**
 * Looks before MikroORM does whether a flush in a read-only transaction would write. A hook may still
 * add changes; those are for the server to refuse (25006).
 *
 * @throws {@link ReadOnlyTransactionError}
 */
export function assertMayFlush(manager: EntityManager): void {
  const part = asKyselyTransaction(manager.getTransactionContext())?.part;
  const changed =
    part?.whole.isReadOnly === true ? changedEntities(manager.getUnitOfWork(false)) : [];
  if (part !== undefined && changed.length > 0) {
    throw new ReadOnlyTransactionError(part.place, [...new Set(changed)]);
  }
}

const NOTHING: ReadonlySet<object> = new Set();

/** Class names of the entities that a flush would write: a change shows only in what it computes. */
function changedEntities(uow: UnitOfWork): readonly string[] {
  const stacks = [uow.getPersistStack(), uow.getRemoveStack(), uow.getOrphanRemoveStack()];
  const before = stacks.map((stack) => (stack.size === 0 ? NOTHING : new Set<object>(stack)));
  uow.computeChangeSets();
  const changed = [
    ...uow.getChangeSets().map((changeSet) => changeSet.meta.className),
    // In other collections the side that changed is an entity, and among the above.
    ...uow
      .getCollectionUpdates()
      .filter(({ property }) => property.kind === ReferenceKind.MANY_TO_MANY)
      .map(({ owner }) => owner.constructor.name),
    ...[...uow.getExtraUpdates()].map(([entity]) => entity.constructor.name),
  ];
  // Computing cascades to all entities that are managed, which then wait as if they were new.
  stacks.forEach((stack, index) => {
    for (const each of stack) {
      if (!before[index]!.has(each)) {
        stack.delete(each);
      }
    }
  });
  if (changed.length === 0 && !hasPendingEntities(uow)) {
    uow.clearActionsQueue();
  }
  return changed;
}
