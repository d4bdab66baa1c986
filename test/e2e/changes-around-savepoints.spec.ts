/** What is changed around nested transactions is saved as a transaction of MikroORM by itself saves it (C6). */
import { Collection, QueryOrder, RequestContext, type Rel } from '@mikro-orm/core';
import { Entity, ManyToOne, OneToMany, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startApp, type TestApp } from '../support/test-app.js';

/** How often `onUpdate` was called. */
let updates = 0;

@Entity({ tableName: 'node' })
class Node {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({
    type: 'integer',
    onUpdate: (node: Node) => {
      updates += 1;
      return (node.touched ?? 0) + 1;
    },
  })
  touched = 0;

  @ManyToOne({ entity: () => Node, nullable: true })
  parent?: Rel<Node> | undefined;

  @OneToMany({ entity: () => Node, mappedBy: 'parent' })
  children = new Collection<Node>(this);
}

@Entity({ tableName: 'owner' })
class Owner {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @OneToMany({ entity: () => Item, mappedBy: 'owner', orphanRemoval: true })
  items = new Collection<Item>(this);
}

@Entity({ tableName: 'item' })
class Item {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @ManyToOne({ entity: () => Owner, nullable: true })
  owner?: Rel<Owner>;
}

const SCHEMA = `
  drop table if exists node, item, owner;
  create table node (id int primary key, touched int not null default 0, parent_id int references node);
  insert into node (id) values (1), (2), (3);
  create table owner (id int primary key);
  insert into owner values (1);
  create table item (id int primary key, owner_id int references owner);
  insert into item values (1, 1), (2, 1)`;

const failed = (nested: Promise<unknown>): Promise<unknown> =>
  nested.catch((error: unknown) => error);

const WAYS: Readonly<Record<string, (em: EntityManager) => Promise<unknown>>> = {
  'a relation that changes between two of them': async (em) => {
    const nodes = await em.find(
      Node,
      {},
      { populate: ['children'], orderBy: { id: QueryOrder.ASC } },
    );
    await em.transactional(async () => undefined);
    nodes[1]!.parent = nodes[0]!;
    await em.transactional(async () => undefined);
  },
  'a relation to a new entity between two of them': async (em) => {
    const nodes = await em.find(
      Node,
      {},
      { populate: ['children'], orderBy: { id: QueryOrder.ASC } },
    );
    await em.transactional(async () => undefined);
    nodes[1]!.parent = Object.assign(new Node(), { id: 9 });
    await em.transactional(async () => undefined);
  },
  'a reference that was never loaded, before one': async (em) => {
    em.getReference(Node, 2).parent = em.getReference(Node, 1);
    await em.transactional(async () => undefined);
  },
  'a reference that was never loaded, and none': async (em) => {
    await em.find(Owner, {});
    em.getReference(Node, 2).parent = em.getReference(Node, 1);
  },
  'an item that is taken out in one that fails': async (em) => {
    const owner = await em.findOneOrFail(Owner, 1, { populate: ['items'] });
    await failed(
      em.transactional(async () => {
        owner.items.remove(owner.items[0]!);
        throw new Error('fails');
      }),
    );
  },
  'all items that are taken out in one that fails': async (em) => {
    const owner = await em.findOneOrFail(Owner, 1, { populate: ['items'] });
    await failed(
      em.transactional(async () => {
        owner.items.removeAll();
        throw new Error('fails');
      }),
    );
  },
  'an item that is taken out in one in another, which both fail': async (em) => {
    const owner = await em.findOneOrFail(Owner, 1, { populate: ['items'] });
    await failed(
      em.transactional((outer) =>
        outer.transactional(async () => {
          owner.items.remove(owner.items[0]!);
          throw new Error('fails');
        }),
      ),
    );
  },
  'an item that is taken out in one that succeeds': async (em) => {
    const owner = await em.findOneOrFail(Owner, 1, { populate: ['items'] });
    await em.transactional(async () => owner.items.remove(owner.items[0]!));
  },
  'an item of another transaction, which fails': async (em) => {
    await failed(
      em.transactional(
        async (own) => {
          const owner = await own.findOneOrFail(Owner, 1, { populate: ['items'] });
          owner.items.removeAll();
          throw new Error('fails');
        },
        { propagation: 'requires_new' as never },
      ),
    );
  },
};

/** How an orphan is flushed inside of a nested transaction. */
const FLUSHES: Readonly<Record<string, (nested: EntityManager, owner: Owner) => Promise<unknown>>> =
  {
    'by the manager of the callback': async (nested, owner) => {
      owner.items.remove(owner.items[0]!);
      await nested.flush();
    },
    'by a query': async (nested, owner) => {
      owner.items.remove(owner.items[0]!);
      await nested.find(Item, {});
    },
    'by the end of one inside of it': (nested, owner) =>
      nested.transactional(async () => owner.items.remove(owner.items[0]!)),
  };

describe('changes around nested transactions', () => {
  let database: TestDatabase;
  let app: TestApp;
  let plain: MikroORM;

  beforeAll(async () => {
    database = await createTestDatabase();
    const options = defineConfig({ clientUrl: database.url, entities: [Node, Owner, Item] });
    app = await startApp({ connections: [options] });
    plain = await MikroORM.init(options);
  });
  beforeEach(() => database.query(SCHEMA));
  afterAll(async () => {
    await plain.close();
    await app.close();
    await database.drop();
  });

  const rows = async (): Promise<object> => ({
    node: await database.query('select * from node order by id'),
    item: await database.query('select * from item order by id'),
  });

  it.each(Object.entries(WAYS))('C6: %s', async (_, work) => {
    updates = 0;
    await app.connection().orm.em.fork().transactional(work);
    const expected = { ...(await rows()), updates };
    await database.query(SCHEMA);
    updates = 0;

    await app.dbContext.run(() => work(app.session()));

    expect({ ...(await rows()), updates }).toEqual(expected);
  });

  it.each(Object.entries(FLUSHES))(
    'C6: an orphan that was flushed %s in one that fails stays',
    async (_, flush) => {
      const work = async (em: EntityManager): Promise<void> => {
        const owner = await em.findOneOrFail(Owner, 1, { populate: ['items'] });
        const nested = em.transactional(async (inner) => {
          await flush(inner, owner);
          throw new Error('fails');
        });
        await expect(nested).rejects.toThrow(new Error('fails'));
      };
      const items = async (): Promise<readonly number[]> => {
        const found = await database.query<{ id: number }>('select id from item order by id');
        return found.map(({ id }) => id);
      };
      // MikroORM removes it at the commit where a fork has loaded the owner, and not where the manager of a request has.
      await plain.em.fork().transactional(work);
      expect(await items()).toEqual([2]);
      await database.query(SCHEMA);
      await RequestContext.create(plain.em, async () => {
        await work(plain.em);
        await plain.em.flush();
      });
      expect(await items()).toEqual([1, 2]);

      await app.dbContext.run(() => work(app.session()));

      expect(await items()).toEqual([1, 2]);
    },
  );
});
