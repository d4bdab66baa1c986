import { DbContext } from 'nestjs-db-context';
import {
  captureOnCommit,
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  recordContexts,
  TestIsolationError,
  useTestTransaction,
} from 'nestjs-db-context/testing';

import { AuditEntry } from '../audit/audit-entry.entity.js';
import { Customer } from '../customers/customer.entity.js';
import { ADA, CHAIR, GRACE, LAMP } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { OrdersService } from '../orders/orders.service.js';
import { Product } from '../products/product.entity.js';
import { digestTables } from './digest.js';
import { openShop, type Shop } from './shop.js';

/**
 * Each test shares one transaction per connection with the application, which is rolled back when
 * the test ends. Nothing is cleaned up.
 */
describe('sample 04-testing, a shared transaction', () => {
  let shop: Shop;
  let before: readonly object[];

  const digests = (): Promise<object[]> =>
    Promise.all([shop.database, shop.auditDatabase].map(digestTables));

  beforeAll(async () => {
    shop = await openShop();
    before = await digests();
  });

  afterAll(async () => {
    try {
      await expectUntouched();
    } finally {
      await shop?.close();
    }
  });

  // After `beforeAll`, which makes the application.
  const db = useTestTransaction(() => shop.app);

  afterEach(() => {
    expectNoOpenConnections(shop.app);
    shop.doubles.mails.length = 0;
    shop.doubles.charge = () => Promise.resolve(true);
  });

  /** All tests of this file have run, and both databases are as they were before. */
  async function expectUntouched(): Promise<void> {
    // The tests did insert: a sequence is never rolled back.
    expect(
      await shop.database.query('select last_value > 5 as ok from customer_order_id_seq'),
    ).toEqual([{ ok: true }]);
    expect(before).toEqual([
      {
        'public.customer': expect.stringContaining('2 rows'),
        'public.customer_order': expect.stringContaining('0 rows'),
        'public.product': expect.stringContaining('2 rows'),
        'public.shortage': expect.stringContaining('0 rows'),
      },
      { 'public.audit_entry': expect.stringContaining('0 rows') },
    ]);
    expect(await digests()).toEqual(before);

    // The comparison would have noticed a row, also one that has only changed, in any schema.
    const [shopBefore] = before;
    await shop.database.query("update product set name = 'Lamp' where name = 'lamp'");
    const changed = await digestTables(shop.database);
    expect(changed).not.toEqual(shopBefore);
    await shop.database.query("update product set name = 'lamp' where name = 'Lamp'");
    expect(await digestTables(shop.database)).toEqual(shopBefore);
    await shop.database.query('create schema other create table leftover (id int)');
    expect(await digestTables(shop.database)).not.toEqual(shopBefore);
  }

  const stockOf = async (id: number): Promise<number> =>
    (await db.session().findOneOrFail(Product, id)).stock;

  const ordersOf = (customer: number): Promise<Order[]> =>
    db.session().find(Order, { customer }, { orderBy: { id: 'asc' } });

  const order = (body: object = {}): Promise<Response> =>
    shop.post('/orders', { customerId: ADA.id, productId: LAMP.id, quantity: 2, ...body });

  const place = (quantity = 1): Promise<Order> =>
    shop.app
      .get(DbContext)
      .run(() => shop.app.get(OrdersService).place(ADA.id, CHAIR.id, quantity));

  describe('requests', () => {
    it('see what the test has prepared, and the test sees what they have saved', async () => {
      const session = db.session();
      const radio = new Product('radio', 1);
      await session.persist(radio).flush();

      expect((await order({ productId: radio.id, quantity: 1 })).status).toBe(201);
      expect((await order({ customerId: GRACE.id, quantity: 3 })).status).toBe(201);

      expect(await ordersOf(ADA.id)).toMatchObject([{ quantity: 1, status: 'open' }]);
      expect(await stockOf(radio.id)).toBe(0);
      const listed: unknown = await (await fetch(`${shop.url}/orders`)).json();
      expect(listed).toMatchObject([
        { customer: { email: ADA.email }, product: { name: 'radio' } },
        { customer: { email: GRACE.email }, product: { name: 'lamp' } },
      ]);
    });

    // The same order twice: neither test knows of the other.
    it.each(['in a first test', 'in a second one'])('start from the fixtures, %s', async () => {
      expect(await stockOf(LAMP.id)).toBe(3);
      expect((await order({ quantity: 3 })).status).toBe(201);
      expect(await stockOf(LAMP.id)).toBe(0);
    });

    it('roll back as in production, and leave alone what was saved before', async () => {
      await expectCommitted(shop.app, () => shop.post('/customers', { email: 'new@example.com' }));
      const again = (): Promise<Response> => shop.post('/customers', { email: 'new@example.com' });
      await expectRolledBack(shop.app, async () => {
        expect((await again()).status).toBe(409);
        expect((await order({ customerId: 99 })).status).toBe(404);
      });
      expect(await db.session().count(Customer)).toBe(3);
    });
  });

  describe('services', () => {
    it('work in dbContext.run(), as in a job', async () => {
      await expectCommitted(shop.app, () => place(4));
      expect(await stockOf(CHAIR.id)).toBe(96);
    });

    it('have everything undone when the caller fails', async () => {
      await expectRolledBack(shop.app, async () => {
        const failing = shop.app.get(DbContext).run(async () => {
          await shop.app.get(OrdersService).place(ADA.id, CHAIR.id, 4);
          throw new Error('the rest fails');
        });
        await expect(failing).rejects.toThrow('the rest fails');
      });
      expect(await stockOf(CHAIR.id)).toBe(100);
      expect(shop.doubles.mails).toEqual([]);
    });
  });

  describe('the mail on commit', () => {
    it('is sent for what is saved, and only for that', async () => {
      await order();
      await order({ productId: 99 });
      expect(shop.doubles.mails).toEqual([expect.stringMatching(/^ada@.*: Order \d+: 2 lamp$/)]);
    });

    it('can be captured: looked at first, and sent when the test says so', async () => {
      const callbacks = await captureOnCommit(shop.app, () => order());
      expect(callbacks).toHaveLength(1);
      expect(await ordersOf(ADA.id)).toHaveLength(1);
      expect(shop.doubles.mails).toEqual([]);
      await callbacks[0]!();
      expect(shop.doubles.mails).toHaveLength(1);
    });
  });

  it('the list of orders takes one statement, however many there are', async () => {
    for (const customerId of [ADA.id, GRACE.id, ADA.id]) {
      await order({ customerId, productId: CHAIR.id });
    }
    const list = (): Promise<Response> => fetch(`${shop.url}/orders`);
    const response = await expectStatements(shop.app, 1, list);
    expect(await response.json()).toHaveLength(3);
    // The guard does notice a statement more.
    await expect(expectStatements(shop.app, 0, list)).rejects.toThrow('1 were sent');
  });

  describe('a payment, with its early commit', () => {
    it('holds no connection while the payment service takes its time', async () => {
      const { id } = await place();
      let seen: unknown;
      shop.doubles.charge = async () => {
        expectNoOpenConnections(shop.app);
        seen = await ordersOf(ADA.id);
        return true;
      };
      expect((await shop.post(`/orders/${id}/payment`)).status).toBe(201);
      expect(seen).toMatchObject([{ id, status: 'paying' }]);
      expect(await ordersOf(ADA.id)).toMatchObject([{ id, status: 'paid' }]);
      expect((await shop.post(`/orders/${id}/payment`)).status).toBe(409);
    });

    it('that is declined keeps what was committed early, and the audit entry', async () => {
      const { id } = await place();
      shop.doubles.charge = () => Promise.resolve(false);
      const ended = await recordContexts(shop.app, async () => {
        expect((await shop.post(`/orders/${id}/payment`)).status).toBe(402);
      });
      // runInNewContext() in the other database; the request itself comes second, and fails.
      expect(ended).toMatchObject([
        { outcome: 'committed', connections: ['audit'] },
        { outcome: 'rolled-back' },
      ]);
      expect(await ordersOf(ADA.id)).toMatchObject([{ status: 'paying' }]);
      expect(await db.session('audit').find(AuditEntry, {})).toMatchObject([
        { event: `declined: order ${id}` },
      ]);
    });
  });

  it('what it cannot show, it refuses: separate.spec.ts shows that one', async () => {
    // The shortage is committed in a new context of the same database, and the request around it is
    // rolled back. In one transaction the second would undo the first.
    expect((await order({ quantity: 4 })).status).toBe(422);
    await expect(db.session().count(Product)).rejects.toThrow(TestIsolationError);
  });
});
