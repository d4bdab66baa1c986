import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';

import { useTestTransaction } from 'nestjs-db-context/testing';

import { ADA, GRACE } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { Product } from '../products/product.entity.js';
import { placeOrderOf, startOrderJobs, type OrderJobs } from '../test/order-jobs.js';
import { openShop, type Shop } from '../test/shop.js';

describe('sample 04-testing, node:test, tests at the same time', { concurrency: true }, () => {
  let shop: Shop;
  let jobs: OrderJobs;

  before(async () => {
    shop = await openShop();
    jobs = startOrderJobs((job) => db.allow(job.token, () => placeOrderOf(shop, job)));
    // A double is one for all tests. This one waits until two of them pay at the same time.
    const two = Promise.withResolvers<void>();
    let payments = 0;
    shop.doubles.charge = async () => {
      payments += 1;
      if (payments === 2) {
        two.resolve();
      }
      await two.promise;
      return true;
    };
  });
  after(async () => {
    jobs?.close();
    const committed = await shop?.database.query('select id from customer_order');
    await shop?.close();
    assert.deepEqual(committed, []);
  });

  const db = useTestTransaction(() => shop.app, {
    concurrent: true,
    beforeAll: before,
    afterAll: after,
    beforeEach,
    afterEach,
    test: it,
  });

  /** A request of the test that runs. With supertest it is `db.request(shop.app).post(path)`. */
  const post = (path: string, body?: object): Promise<Response> =>
    shop.post(path, body, db.headers());

  /** Hooks belong to no test, so each makes its rows itself. On the same row they would wait in turn. */
  async function radio(): Promise<Product> {
    const product = new Product('radio', 1);
    await db.session().persist(product).flush();
    return product;
  }

  for (const { id, email } of [ADA, GRACE]) {
    db.test(`sells ${email} a radio, and takes a payment for it`, async () => {
      const { id: productId } = await radio();
      const placed = await post('/orders', { customerId: id, productId, quantity: 1 });
      const order = (await placed.json()) as Order;
      assert.equal((await post(`/orders/${order.id}/payment`)).status, 201);

      // The other test has placed and paid for an order by now, and this one sees its own alone.
      const listed = await fetch(`${shop.url}/orders`, { headers: db.headers() });
      const [first, ...others] = (await listed.json()) as Order[];
      assert.deepEqual([first?.customer.id, first?.status], [id, 'paid']);
      assert.deepEqual(others, []);
    });
  }

  db.test('works off a job, whose token says which test it belongs to', async () => {
    const { id: productId } = await radio();
    await jobs.add({ customerId: ADA.id, productId, token: db.token });

    const [first, ...others] = await db.session().find(Order, {});
    assert.equal(first?.status, 'open');
    assert.deepEqual(others, []);
  });

  db.test('sells nothing to a stranger', async () => {
    const { id: productId } = await radio();
    const order = { customerId: 99, productId, quantity: 1 };
    assert.equal((await post('/orders', order)).status, 404);

    assert.equal(await db.session().count(Order), 0);
  });
});
