import type { EntityManager } from '@mikro-orm/postgresql';

import { ACCOUNTS } from '../../app/account.entity.js';
import { Row } from './entities.js';
import type { Stand } from './stand.js';

/** One unit of work of a size. */
type UnitOf = (stand: Stand) => (size: number) => Promise<void>;

let turn = 0;
const nextId = (): number => (turn++ % ACCOUNTS) + 1;

async function readOne({ accounts }: Stand, em: EntityManager, index = 0): Promise<void> {
  await em.findOneOrFail(accounts[index]!, nextId());
}

export const statements: UnitOf = (stand) => (count) =>
  stand.run(async (em) => {
    for (let statement = 0; statement < count; statement++) {
      await readOne(stand, em);
    }
  });

export const flush: UnitOf = (stand) => (count) =>
  stand.run(async (em) => {
    for (let entity = 0; entity < count; entity++) {
      em.persist(new Row('somebody new', entity));
    }
    return Promise.resolve();
  });

export const connections: UnitOf = (stand) => (count) =>
  stand.runOnEach(count, (em, index) => readOne(stand, em, index));

export const savepointsNested: UnitOf = (stand) => {
  const nest = (em: EntityManager, depth: number): Promise<void> =>
    em.transactional(async (inner) => {
      await readOne(stand, inner);
      if (depth > 1) {
        await nest(inner, depth - 1);
      }
    });
  return (depth) =>
    stand.run(async (em) => {
      await readOne(stand, em);
      await nest(em, depth);
    });
};

export const savepointsInARow: UnitOf = (stand) => (count) =>
  stand.run(async (em) => {
    await readOne(stand, em);
    for (let savepoint = 0; savepoint < count; savepoint++) {
      await em.transactional((inner) => readOne(stand, inner));
    }
  });

export const oneRead: UnitOf = (stand) => () => stand.run((em) => readOne(stand, em));
