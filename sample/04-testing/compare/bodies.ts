import assert from 'node:assert/strict';

import type { EntityManager } from '@mikro-orm/postgresql';
import type { INestApplication } from '@nestjs/common';
import { DbContext } from 'nestjs-db-context';

import { Customer } from '../customers/customer.entity.js';
import { ADA, CHAIR, GRACE, LAMP } from '../fixtures.js';
import { Order } from '../orders/order.entity.js';
import { OrdersService } from '../orders/orders.service.js';
import { Product } from '../products/product.entity.js';

/** What a body works with. */
export interface Bench {
  readonly app: INestApplication;
  readonly url: string;
  /** To look at what the application has saved. */
  session(): EntityManager;
}

/** Tests as an application has them. Each fails when it does not find the fixtures, and only them. */
export const BODIES: readonly ((bench: Bench) => Promise<void>)[] = [
  async (bench) => {
    assert.equal(await post(bench, '/orders', orderOf(ADA.id, LAMP.id, 2)), 201);
    assert.equal((await bench.session().findOneOrFail(Product, LAMP.id)).stock, 1);
  },
  async (bench) => {
    assert.equal(await post(bench, '/customers', { email: 'new@example.com' }), 201);
    assert.equal(await post(bench, '/customers', { email: 'new@example.com' }), 409);
    assert.equal(await bench.session().count(Customer), 3);
  },
  async (bench) => {
    await place(bench);
    assert.equal((await bench.session().findOneOrFail(Product, CHAIR.id)).stock, 96);
  },
  async (bench) => {
    await place(bench);
    assert.equal(await post(bench, '/orders', orderOf(GRACE.id, LAMP.id, 1)), 201);
    const listed = await fetch(`${bench.url}/orders`);
    assert.equal(((await listed.json()) as unknown[]).length, 2);
  },
  async (bench) => {
    const { id } = await place(bench);
    assert.equal(await post(bench, `/orders/${id}/payment`, {}), 201);
    assert.equal((await bench.session().findOneOrFail(Order, id)).status, 'paid');
  },
  async (bench) => {
    assert.equal(await post(bench, '/orders', orderOf(ADA.id, 99, 1)), 404);
    assert.equal(await bench.session().count(Order), 0);
  },
];

export async function post({ url }: Bench, path: string, body: object): Promise<number> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  await response.arrayBuffer();
  return response.status;
}

function place({ app }: Bench): Promise<Order> {
  return app.get(DbContext).run(() => app.get(OrdersService).place(ADA.id, CHAIR.id, 4));
}

export function orderOf(customerId: number, productId: number, quantity: number): object {
  return { customerId, productId, quantity };
}
