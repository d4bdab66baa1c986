import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it, mock } from 'node:test';

import { useTestTransaction } from 'nestjs-db-context/testing';

import { ADA } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { Product } from '../products/product.entity.js';
import { openShop, type Shop } from '../test/shop.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

describe('sample 04-testing, node:test', () => {
  let shop: Shop;
  let radio: Product;

  before(async () => {
    shop = await openShop();
  });
  after(() => shop?.close());

  const hooks = { beforeAll: before, afterAll: after, beforeEach, afterEach };
  const db = useTestTransaction(() => shop.app, hooks);

  // It comes after useTestTransaction(), so that the radio is gone with the test.
  beforeEach(async () => {
    radio = new Product('radio', 1);
    await db.session().persist(radio).flush();
  });
  afterEach(() => {
    mock.timers.reset();
  });

  const order = (): Promise<Response> =>
    shop.post('/orders', { customerId: ADA.id, productId: radio.id, quantity: 1 });

  for (const when of ['in one test', 'and again in the next one']) {
    it(`sells the only radio, ${when}`, async () => {
      assert.equal((await order()).status, 201);
      const [first, ...others] = await db.session().find(Order, {});
      assert.equal(first?.status, 'open');
      assert.deepEqual(others, []);
    });
  }

  it('takes no payment for an order of yesterday', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { id } = (await (await order()).json()) as Order;
    mock.timers.tick(DAY_MS);

    assert.equal((await shop.post(`/orders/${id}/payment`)).status, 410);
    assert.equal((await db.session().findOneOrFail(Order, id)).status, 'open');
  });
});
