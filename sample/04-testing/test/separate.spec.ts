import type { EntityManager } from '@mikro-orm/postgresql';
import {
  expectNoOpenConnections,
  openRollbackSession,
  recordContexts,
} from 'nestjs-db-context/testing';

import { waitFor } from '../../../test/support/wait-for.js';
import { Customer } from '../customers/customer.entity.js';
import { ADA, GRACE, LAMP } from '../fixtures.js';
import { Product } from '../products/product.entity.js';
import { openShop, type Shop } from './shop.js';

/**
 * What only separate sessions can show: transactions that meet, and a rollback around what has been
 * committed in it. Everything is really committed, so each test ends with a clean-up.
 */
describe('sample 04-testing, separate sessions', () => {
  let shop: Shop;

  beforeAll(async () => {
    shop = await openShop();
  });
  afterAll(() => shop?.close());

  afterEach(async () => {
    expectNoOpenConnections(shop.app);
    shop.doubles.mails.length = 0;
    await shop.reset();
  });

  const order = (quantity: number): Promise<Response> =>
    shop.post('/orders', { customerId: ADA.id, productId: LAMP.id, quantity });

  const stock = async (): Promise<unknown> =>
    (await shop.database.query('select stock from product where id = 1'))[0]?.['stock'];

  /** No sleep: the server says when a transaction waits for another one. */
  const untilOneWaits = (): Promise<void> =>
    waitFor(
      async () => {
        const waiting = await shop.database.query(
          `select 1 from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return waiting.length > 0;
      },
      { what: 'a transaction to wait for a lock' },
    );

  it('two register the same address at the same time: one 409, one row', async () => {
    // The other customer is a session of the test, which has not committed yet.
    await using other = openRollbackSession(shop.app);
    await other.session.insert(Customer, { email: 'new@example.com' });

    const pending = shop.post('/customers', { email: 'new@example.com' });
    // The request has looked, found nobody, and its INSERT waits for the index.
    await untilOneWaits();
    await other.session.commit();

    expect((await pending).status).toBe(409);
    expect(
      await shop.database.query('select email from customer where id > 2 order by id'),
    ).toEqual([{ email: 'new@example.com' }]);
  });

  it('the same, where the other one gives up: 201', async () => {
    const other = openRollbackSession(shop.app);
    await other.session.insert(Customer, { email: 'new@example.com' });
    const pending = shop.post('/customers', { email: 'new@example.com' });
    await untilOneWaits();
    await other.close();

    expect((await pending).status).toBe(201);
    expect(await shop.database.query('select id from customer')).toHaveLength(3);
  });

  it('somebody else buys meanwhile: 40001, and the request runs again with what is left', async () => {
    await using other = openRollbackSession<EntityManager>(shop.app);
    await other.session.nativeUpdate(Product, LAMP.id, { stock: 2 });

    const ended = await recordContexts(shop.app, async () => {
      const pending = order(1);
      await untilOneWaits();
      await other.session.commit();
      expect((await pending).status).toBe(201);
    });

    // The first attempt, then the second one, then that of the mail.
    expect(ended.map(({ outcome }) => outcome)).toEqual(['rolled-back', 'committed', 'committed']);
    expect(await stock()).toBe(1);
    expect(shop.doubles.mails).toHaveLength(1);
  });

  it('eight at once for three lamps: three orders, five on record as shortages', async () => {
    const responses = await Promise.all(Array.from({ length: 8 }, () => order(1)));

    expect(responses.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      201, 201, 201, 422, 422, 422, 422, 422,
    ]);
    expect(await stock()).toBe(0);
    expect(await shop.database.query('select id from customer_order')).toHaveLength(3);
    expect(await shop.database.query('select id from shortage')).toHaveLength(5);
    expect(shop.doubles.mails).toHaveLength(3);
  });

  it('a refused order is rolled back, and what it has recorded on the way is not', async () => {
    expect((await order(4)).status).toBe(422);

    expect(await stock()).toBe(LAMP.stock);
    expect(await shop.database.query('select product_id, missing from shortage')).toEqual([
      { product_id: LAMP.id, missing: 1 },
    ]);
  });

  it('the mail is sent once everybody can see the order', async () => {
    const seen: unknown[] = [];
    shop.doubles.onMail = async () => {
      seen.push(...(await shop.database.query('select quantity, status from customer_order')));
    };
    expect((await order(2)).status).toBe(201);
    expect(seen).toEqual([{ quantity: 2, status: 'open' }]);
  });

  it('each test starts from the fixtures, ids included', async () => {
    expect(await shop.database.query('select id, email from customer order by id')).toEqual([
      ADA,
      GRACE,
    ]);
  });
});
