import { RequestContext, Utils } from '@mikro-orm/core';

import { Author, Tag } from './contract.entities.js';
import type { Scenario } from './contract.types.js';
import { useContract } from './use-contract.js';

const { compare, own, expectCovered } = useContract();

const error = (thrown: unknown): unknown => thrown;

/** Uses the session, so that there is one at the end. */
const touching =
  (scenario: Scenario): Scenario =>
  async (em, kit) => {
    await em.count(Tag);
    return scenario(em, kit);
  };

describe('what the entity managers of an ORM share', () => {
  compare(
    'is the same object',
    touching((em, { orm }) => [
      em.config === orm.config,
      em.getDriver() === orm.driver,
      em.getPlatform() === orm.em.getPlatform(),
      em.getMetadata() === orm.getMetadata(),
      em.getMetadata(Author).className,
      em.getComparator() === orm.em.getComparator(),
      em.getHydrator() === orm.em.getHydrator(),
      em.name,
      em.global,
      em['~entities'],
    ]),
  );
  own('W2: the global entity manager is the one of the context', (em, { orm }) => {
    expect(orm.em.getContext(false)).toBe(em.getContext(false));
    expect(RequestContext.getEntityManager(em.name)?.getContext(false)).toBe(em.getContext(false));
  });
});

describe('what belongs to the session', () => {
  compare(
    'transactions are disabled in the fork that was asked for without, and nowhere else',
    touching((em) => {
      const areDisabled = (manager: object): boolean | undefined =>
        (manager as { isTransactionDisabled?(): boolean }).isTransactionDisabled?.();
      return [areDisabled(em), areDisabled(em.fork({ disableTransactions: true }))];
    }),
  );
  compare(
    'is the same through each of its accessors',
    touching(async (em) => [
      em.getContext(false) === em.getContext(),
      // oxlint-disable-next-line no-underscore-dangle -- MikroORM's name
      em.id === em.getContext()._id,
      em.getContext().getUnitOfWork() === em.getUnitOfWork(),
      em.getContext().getEntityFactory() === em.getEntityFactory(),
      em.getContext().getEntityLoader() === em.getEntityLoader(),
      (await em.findOne(Author, 1)) === (await em.getContext().findOne(Author, 1)),
    ]),
  );
  own('the id is the same through the handle, and another for the next context', (em, kit) => {
    expect(em.id).toBe(kit.app.session().id);
    expect(em.id).toBe(kit.orm.em.id);
    expect(em.id).not.toBe(kit.orm.em.fork().id);
    // oxlint-disable-next-line no-underscore-dangle -- MikroORM's name
    expect(typeof em._id).toBe('number');
  });
  compare('a schema of its own', async (em) => {
    const before = [em.schema, await em.find(Tag, {}, { orderBy: { id: 'asc' } })];
    em.clear();
    em.schema = 'shelf';
    const shelf = [em.schema, await em.find(Tag, {}), await em.qb(Tag).getCount()];
    const fork = em.fork().schema;
    em.schema = null;
    em.clear();
    return [before, shelf, fork, em.schema, await em.count(Tag)];
  });
  compare('the schema of a query', (em) => em.find(Tag, {}, { schema: 'shelf' }));
  compare(
    'a logger context of its own',
    touching((em) => {
      em.setLoggerContext({ job: 1 });
      em.getLoggerContext()['step'] = 2;
      return [em.getLoggerContext(), em.fork().getLoggerContext()];
    }),
  );
  compare(
    'which is not that of the next context',
    touching((em) => em.getLoggerContext()),
  );
  compare(
    'the logger context, without asking for the context',
    touching((em) => {
      em.setLoggerContext({ job: 1 });
      return em.getLoggerContext({ disableContextResolution: true });
    }),
  );
});

describe('the connection', () => {
  compare('is the one to write to, and runs past the transaction', async (em, { orm }) => {
    await em.insert(Tag, { name: 'not saved' });
    const count = 'select count(*)::int as n from tag';
    const connection = em.getConnection();
    return [
      await connection.execute(count),
      await connection.execute(count, [], 'get', em.getTransactionContext()),
      await em.getConnection('read').execute(count, [], 'run'),
      await connection.isConnected(),
      connection.getPlatform() === orm.em.getConnection().getPlatform(),
      Utils.isObject(connection.getClient()),
    ];
  });
  compare('begins transactions of its own', async (em) => {
    const connection = em.getConnection('write');
    const kept: unknown = await connection.transactional((trx) =>
      connection.execute(`insert into tag (name) values ('kept')`, [], 'run', trx),
    );
    const trx = await connection.begin();
    await connection.execute(`insert into tag (name) values ('undone')`, [], 'run', trx);
    await connection.rollback(trx);
    return [(kept as { affectedRows: number }).affectedRows, await em.count(Tag)];
  });
  compare('the driver takes the transaction context', async (em) => {
    await em.insert(Tag, { name: 'not saved' });
    const ctx = em.getTransactionContext()!;
    return [await em.getDriver().count(Tag, {}, { ctx }), await em.getDriver().count(Tag, {})];
  });
});

describe('the session context of row-level security', () => {
  compare(
    'cannot be set or cleared in a transaction',
    touching((em) => {
      const attempt = (call: () => unknown): unknown => {
        try {
          return call();
        } catch (thrown) {
          return thrown;
        }
      };
      return [
        attempt(() => em.setSessionContext({ variables: { 'app.tenant': 'a' } })),
        attempt(() => em.clearSessionContext()),
        em.getSessionContext(),
        em.getTransactionSessionContext(),
      ];
    }),
  );
  compare('withSessionContext() stays in the transaction', async (em) => {
    const ctx = em.getTransactionContext();
    return [
      await em.withSessionContext(ctx, async (given) => given === ctx),
      await em.withSessionContext(undefined, async (given) => given).catch(error),
      await em.count(Tag),
    ];
  });
});

expectCovered('accessors');
