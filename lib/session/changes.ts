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
import { differs, lookAtManaged, type Finding } from './managed-entities.js';

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
 * way: it may compute the same change sets.
 */
export function hasChanges(manager: EntityManager): boolean {
  const finding = findingOf(manager);
  return finding === 'unclear' ? hasChangeSets(manager) : finding === 'changed';
}

/**
 * As {@link hasChanges}, and exact: what only looks like a change, as a removed entity does that a collection still
 * holds, is for MikroORM to judge. `onUpdate` of what has changed is called for that.
 */
export function wouldWrite(manager: EntityManager): boolean {
  return hasChanges(manager) && hasChangeSets(manager);
}

/** What is to be found without MikroORM's help. */
function findingOf(manager: EntityManager): Finding {
  const uow = manager.getUnitOfWork(false);
  if (hasPendingEntities(uow)) {
    return 'changed';
  }
  try {
    const finding = lookAtManaged(manager);
    if (finding === 'unchanged') {
      // What was persisted and removed again would let the next query flush nothing.
      uow.clearActionsQueue();
    }
    return finding;
  } catch {
    // An entity that cannot be compared is a change; the flush says what is wrong with it.
    return 'changed';
  }
}

function hasChangeSets(manager: EntityManager): boolean {
  try {
    return changedEntities(manager.getUnitOfWork(false)).length > 0;
  } catch {
    // As is one that cannot be written.
    return true;
  }
}

const FLUSH_EVENTS = [EventType.beforeFlush, EventType.onFlush, EventType.afterFlush] as const;

/**
 * Whether a flush can be left out: it would write nothing, and no subscriber would hear of it. What only read then ends
 * without one.
 *
 * @param deletionHandlers subscribers to which a flush that writes nothing says nothing
 */
export function isFlushIdle(
  manager: EntityManager,
  deletionHandlers: { has(subscriber: object): boolean },
): boolean {
  for (const subscriber of manager.getEventManager().getSubscribers()) {
    if (
      !deletionHandlers.has(subscriber) &&
      FLUSH_EVENTS.some((event) => subscriber[event] !== undefined)
    ) {
      return false;
    }
  }
  return findingOf(manager) === 'unchanged';
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
