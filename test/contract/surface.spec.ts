import { readFileSync } from 'node:fs';

import { EntityManager, EntityRepository, MikroORM } from '@mikro-orm/postgresql';

import { ENTITIES } from './contract.entities.js';
import {
  COVERED_BY,
  COVERED_SINCE,
  NOT_PUBLIC,
  prototypeNames,
  REPOSITORY_METHODS,
} from './surface.js';

// A failure here after an upgrade means that MikroORM has a member that nobody has compared yet:
// write its comparison, then name it in surface.ts.
describe('the surface of MikroORM that the session stands for', () => {
  let orm: MikroORM;

  beforeAll(async () => {
    orm = await MikroORM.init({ dbName: 'unused', ensureDatabase: false, entities: ENTITIES });
  });
  afterAll(() => orm.close());

  it('has no member that is neither covered nor known to be internal', () => {
    const members = [...prototypeNames(orm.em), ...Object.keys(orm.em.fork())];
    const known = new Set([
      ...Object.keys(COVERED_BY),
      ...Object.keys(COVERED_SINCE),
      ...NOT_PUBLIC,
    ]);
    expect(members.filter((name) => !known.has(name))).toEqual([]);
  });

  it('has every member that is said to be covered', () => {
    const members = new Set([...prototypeNames(orm.em), ...Object.keys(orm.em.fork())]);
    // Declared for the types alone.
    members.add('~entities');
    const known = [...Object.keys(COVERED_BY), ...NOT_PUBLIC];
    expect(known.filter((name) => !members.has(name))).toEqual([]);
  });

  it('has no method of the repository that is not compared', () => {
    const methods = prototypeNames(orm.em.getRepository(ENTITIES[1] as never));
    const known = new Set([...Object.keys(REPOSITORY_METHODS), 'validateRepositoryType']);
    expect(methods.filter((name) => !known.has(name))).toEqual([]);
    expect(orm.em.getRepository(ENTITIES[1] as never)).toBeInstanceOf(EntityRepository);
  });

  it.each([...new Set(Object.values(COVERED_BY))])(
    '%s.spec.ts answers for what it is to cover',
    (spec) => {
      const source = readFileSync(new URL(`${spec}.spec.ts`, import.meta.url), 'utf8');
      expect(source).toContain(`expectCovered('${spec}')`);
    },
  );

  it('is that of the class whose instances are compared', () => {
    expect(orm.em).toBeInstanceOf(EntityManager);
  });
});
