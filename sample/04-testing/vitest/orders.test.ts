import { useTestTransaction } from 'nestjs-db-context/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { ADA } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { Product } from '../products/product.entity.js';
import { openShop, type Shop } from '../test/shop.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

describe('sample 04-testing, Vitest', () => {
  let shop: Shop;
  let radio: Product;

  beforeAll(async () => {
    shop = await openShop();
  });
  afterAll(() => shop?.close());

  const hooks = { beforeAll, afterAll, beforeEach, afterEach };
  const db = useTestTransaction(() => shop.app, hooks);

  // It comes after useTestTransaction(), so that the radio is gone with the test.
  beforeEach(async () => {
    radio = new Product('radio', 1);
    await db.session().persist(radio).flush();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const order = (): Promise<Response> =>
    shop.post('/orders', { customerId: ADA.id, productId: radio.id, quantity: 1 });

  it.each(['in one test', 'and again in the next one'])('sells the only radio, %s', async () => {
    expect((await order()).status).toBe(201);
    expect(await db.session().find(Order, {})).toMatchObject([{ status: 'open', quantity: 1 }]);
  });

  it('takes no payment for an order of yesterday', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { id } = (await (await order()).json()) as Order;
    vi.advanceTimersByTime(DAY_MS);

    expect((await shop.post(`/orders/${id}/payment`)).status).toBe(410);
    expect(await db.session().findOneOrFail(Order, id)).toMatchObject({ status: 'open' });
  });
});
