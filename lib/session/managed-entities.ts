import {
  EntityManager,
  Reference,
  ReferenceKind,
  Utils,
  wrap,
  type Dictionary,
  type EntityMetadata,
  type EntityProperty,
  type UnitOfWork,
} from '@mikro-orm/core';

/** What a look at the entities that are managed has found; `unclear` is for MikroORM to find out. */
export type Finding = 'unchanged' | 'changed' | 'unclear';

type IdentityMap = ReturnType<UnitOfWork['getIdentityMap']>;

/**
 * Compares the managed entities with what was loaded or written, as the change sets of MikroORM do, and stops at the
 * first difference. It computes no change sets, which takes several times as long: entities would be cascaded, and
 * would wait as if they were new. And `onUpdate` of what has changed would be called, which the flush is to do once.
 */
export function lookAtManaged(manager: EntityManager): Finding {
  const identityMap = manager.getUnitOfWork(false).getIdentityMap();
  let found: Finding = 'unchanged';
  for (const entity of identityMap.values()) {
    const finding = lookAt(entity, manager, identityMap);
    if (finding === 'changed') {
      return finding;
    }
    found = moreOf(found, finding);
  }
  return found;
}

function moreOf(one: Finding, other: Finding): Finding {
  return one === 'unchanged' ? other : one;
}

function lookAt(entity: object, manager: EntityManager, identityMap: IdentityMap): Finding {
  const { __meta: meta, __initialized, __originalEntityData: original } = wrap(entity, true);
  if (original === undefined) {
    return 'unclear';
  }
  const isDifferent = __initialized
    ? differs(entity, original, manager)
    : isAssigned(entity, meta, original, manager);
  if (isDifferent) {
    return 'changed';
  }
  let found: Finding = 'unchanged';
  for (const property of meta.relations) {
    const finding = lookAlong(property, (entity as Dictionary)[property.name], identityMap);
    if (finding === 'changed') {
      return finding;
    }
    found = moreOf(found, finding);
  }
  return found;
}

/** Whether a flush would write columns of an entity. @throws what one of its types throws */
export function differs(entity: object, original: object, manager: EntityManager): boolean {
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

/**
 * Whether anything but its key was assigned to a reference that was never loaded. Its snapshot names columns that
 * nobody has asked for, so that the comparison of a loaded one would find them different.
 */
function isAssigned(
  entity: object,
  meta: EntityMetadata,
  original: object,
  manager: EntityManager,
): boolean {
  if (meta.readonly === true) {
    return false;
  }
  const comparator = EntityManager.prototype.getComparator.call(manager);
  const data: Dictionary = { ...comparator.prepareEntity(entity) };
  if (meta.root.discriminatorColumn !== undefined) {
    // The snapshot has it, and the original has not.
    delete data[meta.root.discriminatorColumn];
  }
  return (
    Object.keys(data).some((key) => !meta.primaryKeys.includes(key)) &&
    !Utils.equals(data, original)
  );
}

/** What a relation adds to the columns of its entity; those that it leads to are looked at themselves. */
function lookAlong(property: EntityProperty, value: unknown, identityMap: IdentityMap): Finding {
  if (property.embedded !== undefined || property.targetKey !== undefined) {
    return 'unclear';
  }
  if (value === undefined || value === null || property.mapToPk === true) {
    return 'unchanged';
  }
  if (Utils.isCollection(value)) {
    if (!value.getItems(false).every((item: object) => isManagedIn(identityMap, item))) {
      return 'changed';
    }
    if (!value.isDirty()) {
      return 'unchanged';
    }
    // Of all others it is a column of an item that is written.
    const isWritten = property.kind === ReferenceKind.MANY_TO_MANY && property.owner;
    return isWritten ? 'changed' : 'unclear';
  }
  const target: unknown = Reference.unwrapReference(value);
  return Utils.isEntity(target) && isManagedIn(identityMap, target) ? 'unchanged' : 'changed';
}

/** Whether an entity is the one that is managed under its key. */
export function isManagedIn(identityMap: IdentityMap, entity: object): boolean {
  return identityMap.getByEntity(entity as never) === entity;
}
