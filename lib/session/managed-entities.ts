import {
  EntityManager,
  Reference,
  Utils,
  wrap,
  type Dictionary,
  type EntityProperty,
  type UnitOfWork,
} from '@mikro-orm/core';

/** What a look at the entities that are managed has found; `unclear` is for MikroORM to find out. */
export type Finding = 'unchanged' | 'changed' | 'unclear';

type IdentityMap = ReturnType<UnitOfWork['getIdentityMap']>;

/**
 * Compares the managed entities with what was loaded or written, as the change sets of MikroORM do, and stops at the
 * first difference. It computes no change sets, which takes several times as long: entities would be cascaded, and
 * would wait as if they were new.
 */
export function lookAtManaged(manager: EntityManager): Finding {
  const identityMap = manager.getUnitOfWork(false).getIdentityMap();
  for (const entity of identityMap.values()) {
    const finding = lookAt(entity, manager, identityMap);
    if (finding !== 'unchanged') {
      return finding;
    }
  }
  return 'unchanged';
}

function lookAt(entity: object, manager: EntityManager, identityMap: IdentityMap): Finding {
  const { __meta: meta, __initialized, __originalEntityData: original } = wrap(entity, true);
  if (original === undefined) {
    return 'unclear';
  }
  if (differs(entity, original, manager)) {
    // The snapshot of a reference differs from what is known of it.
    return __initialized ? 'changed' : 'unclear';
  }
  const { relations } = meta;
  for (const property of relations) {
    if (!isSettled((entity as Dictionary)[property.name], property, identityMap)) {
      return 'unclear';
    }
  }
  return 'unchanged';
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

/** Whether a relation leads to nothing that a flush would write, but to entities that are looked at themselves. */
function isSettled(value: unknown, property: EntityProperty, identityMap: IdentityMap): boolean {
  if (property.embedded !== undefined || property.targetKey !== undefined) {
    return false;
  }
  if (value === undefined || value === null || property.mapToPk === true) {
    return true;
  }
  if (Utils.isCollection(value)) {
    return (
      !value.isDirty() &&
      value.getItems(false).every((item: object) => isManagedIn(identityMap, item))
    );
  }
  const target: unknown = Reference.unwrapReference(value);
  return Utils.isEntity(target) && isManagedIn(identityMap, target);
}

function isManagedIn(identityMap: IdentityMap, entity: object): boolean {
  return identityMap.getByEntity(entity as never) === entity;
}
