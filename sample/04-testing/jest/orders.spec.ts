import { useTestTransaction } from 'nestjs-db-context/testing';

import { ADA } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { Product } from '../products/product.entity.js';
import { openShop, type Shop } from '../test/shop.js';

// In an ES module Jest has no global of that name.
const { jest } = import.meta;

const DAY_MS = 24 * 60 * 60 * 1_000;
/** Everything that Jest replaces but `Date`. */
const ALL_BUT_DATE = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const;

describe('sample 04-testing, Jest', () => {
  let shop: Shop;
  let radio: Product;

  beforeAll(async () => {
    shop = await openShop();
  });
  afterAll(() => shop?.close());

  const db = useTestTransaction(() => shop.app);

  // It comes after useTestTransaction(), so that the radio is gone with the test.
  beforeEach(async () => {
    radio = new Product('radio', 1);
    await db.session().persist(radio).flush();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  const order = (): Promise<Response> =>
    shop.post('/orders', { customerId: ADA.id, productId: radio.id, quantity: 1 });

  it.each(['in one test', 'and again in the next one'])('sells the only radio, %s', async () => {
    expect((await order()).status).toBe(201);
    expect(await db.session().find(Order, {})).toMatchObject([{ status: 'open', quantity: 1 }]);
  });

  it('takes no payment for an order of yesterday', async () => {
    jest.useFakeTimers({ doNotFake: [...ALL_BUT_DATE] });
    const { id } = (await (await order()).json()) as Order;
    jest.advanceTimersByTime(DAY_MS);

    expect((await shop.post(`/orders/${id}/payment`)).status).toBe(410);
    expect(await db.session().findOneOrFail(Order, id)).toMatchObject({ status: 'open' });
  });
});
