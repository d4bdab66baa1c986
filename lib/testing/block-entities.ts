import { Collection, Utils, wrap, type EntityManager } from '@mikro-orm/core';

/** A value of a property, or of the data of an entity. */
type Values = Record<string, unknown>;

/** What one entity was like at the end of the set-up of a block. */
interface Snapshot {
  readonly entity: object;
  /** Properties of the object itself that are no accessors: keys, and what is not saved. */
  readonly own: Values;
  /** What stands behind the accessors of MikroORM. */
  readonly data: Values;
  /** What was last read from the database or written to it, which changes are found by. */
  readonly original: Values | undefined;
  readonly isInitialized: boolean;
  readonly loaded: readonly string[];
  readonly collections: readonly (readonly [name: string, items: readonly object[] | undefined])[];
}

/**
 * The entities that a block of tests has made or loaded. Before each test they get back what they were
 * like at the end of the set-up, without a query, and belong to a session of that test.
 */
export class BlockEntities {
  readonly #snapshots: readonly Snapshot[];

  /** @param sessions the sessions of the set-up, which have been flushed */
  constructor(sessions: readonly EntityManager[]) {
    this.#snapshots = sessions.flatMap((session) =>
      [...session.getUnitOfWork(false).getIdentityMap()].map((entity) => snapshotOf(entity)),
    );
  }

  /** Puts them back, and makes them those of `session` alone. */
  attachTo(session: EntityManager): void {
    const unitOfWork = session.getUnitOfWork(false);
    for (const snapshot of this.#snapshots) {
      putBack(snapshot);
      wrap(snapshot.entity, true)['__em'] = session;
    }
    for (const { entity, collections } of this.#snapshots) {
      unitOfWork.register(entity);
      collections.forEach(([name]) => collectionOf(entity, name).takeSnapshot());
    }
  }
}

function snapshotOf(entity: object): Snapshot {
  const wrapped = wrap(entity, true);
  const own: Values = {};
  const collections: (readonly [string, readonly object[] | undefined])[] = [];
  for (const [name, value] of plainPropertiesOf(entity)) {
    if (Utils.isCollection(value)) {
      collections.push([name, value.isInitialized() ? value.getItems(false) : undefined]);
    } else {
      own[name] = copyOf(value);
    }
  }
  return {
    entity,
    own,
    data: copyOfAll(wrapped['__data']),
    original: wrapped['__originalEntityData'] && copyOfAll(wrapped['__originalEntityData']),
    isInitialized: wrapped['__initialized'],
    loaded: [...wrapped['__loadedProperties']],
    collections,
  };
}

/** Past the setters of MikroORM, which would carry each value on to the entities that it refers to. */
function putBack({
  entity,
  own,
  data,
  original,
  isInitialized,
  loaded,
  collections,
}: Snapshot): void {
  const wrapped = wrap(entity, true);
  const target = entity as Values;
  wrapped['__data'] = copyOfAll(data);
  for (const [name] of plainPropertiesOf(entity)) {
    if (!(name in own)) {
      delete target[name];
    }
  }
  Object.assign(target, copyOfAll(own));
  // Last, since an assignment may have changed the collection at the other side of a relation.
  for (const [name, items] of collections) {
    target[name] = new Collection(entity, items && [...items], items !== undefined);
  }
  wrapped['__initialized'] = isInitialized;
  wrapped['__managed'] = true;
  wrapped['__loadedProperties'] = new Set(loaded);
  if (original === undefined) {
    delete wrapped['__originalEntityData'];
  } else {
    wrapped['__originalEntityData'] = copyOfAll(original);
  }
}

function collectionOf(entity: object, name: string): Collection<object> {
  return (entity as Values)[name] as Collection<object>;
}

/** Those of the object itself that are no accessors and none of MikroORM's own. */
function plainPropertiesOf(entity: object): (readonly [name: string, value: unknown])[] {
  return Object.entries(Object.getOwnPropertyDescriptors(entity))
    .filter(([, { enumerable, writable }]) => enumerable === true && writable === true)
    .map(([name, { value }]) => [name, value as unknown] as const);
}

function copyOfAll(values: Values): Values {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, copyOf(value)]));
}

/** Entities stay themselves, in a reference too: they have a snapshot of their own. */
function copyOf(value: unknown): unknown {
  return Utils.isEntity(value, true) || Utils.isScalarReference(value) ? value : Utils.copy(value);
}
