import {
  Reference,
  Utils,
  wrap,
  type Dictionary,
  type EntityComparator,
  type EntityManager,
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
  const comparator = manager.getComparator();
  for (const entity of identityMap.values()) {
    const finding = lookAt(entity, comparator, identityMap);
    if (finding !== 'unchanged') {
      return finding;
    }
  }
  return 'unchanged';
}

function lookAt(entity: object, comparator: EntityComparator, identityMap: IdentityMap): Finding {
  const { __meta: meta, __initialized, __originalEntityData: original } = wrap(entity, true);
  if (original === undefined) {
    return 'unclear';
  }
  if (meta.readonly !== true) {
    const current = comparator.prepareEntity(entity);
    const difference = comparator.getEntityComparator(meta.class)(original, current);
    if (Utils.hasObjectKeys(difference)) {
      // The snapshot of a reference differs from what is known of it.
      return __initialized ? 'changed' : 'unclear';
    }
  }
  const { relations } = meta;
  for (const property of relations) {
    if (!isSettled((entity as Dictionary)[property.name], property, identityMap)) {
      return 'unclear';
    }
  }
  return 'unchanged';
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
