import { useTestTransaction } from 'nestjs-db-context/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { ADA, GRACE } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { Product } from '../products/product.entity.js';
import { placeOrderOf, startOrderJobs, type OrderJobs } from '../test/order-jobs.js';
import { openShop, type Shop } from '../test/shop.js';

describe('sample 04-testing, Vitest, tests at the same time', () => {
  let shop: Shop;
  let jobs: OrderJobs;

  beforeAll(async () => {
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
  afterAll(async () => {
    jobs?.close();
    const committed = await shop?.database.query('select id from customer_order');
    await shop?.close();
    expect(committed).toEqual([]);
  });

  const db = useTestTransaction(() => shop.app, {
    concurrent: true,
    beforeAll,
    afterAll,
    beforeEach,
    afterEach,
    test: test.concurrent,
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

  db.test.each([ADA, GRACE])('sells $email a radio, and takes a payment for it', async ({ id }) => {
    const { id: productId } = await radio();
    const placed = await post('/orders', { customerId: id, productId, quantity: 1 });
    const order = (await placed.json()) as Order;
    expect((await post(`/orders/${order.id}/payment`)).status).toBe(201);

    // The other test has placed and paid for an order by now, and this one sees its own alone.
    const listed = await fetch(`${shop.url}/orders`, { headers: db.headers() });
    expect(await listed.json()).toMatchObject([{ customer: { id }, status: 'paid' }]);
  });

  db.test('works off a job, whose token says which test it belongs to', async () => {
    const { id: productId } = await radio();
    await jobs.add({ customerId: ADA.id, productId, token: db.token });

    expect(await db.session().find(Order, {})).toMatchObject([{ status: 'open', quantity: 1 }]);
  });

  db.test('sells nothing to a stranger', async () => {
    const { id: productId } = await radio();
    const order = { customerId: 99, productId, quantity: 1 };
    expect((await post('/orders', order)).status).toBe(404);

    expect(await db.session().count(Order)).toBe(0);
  });
});
