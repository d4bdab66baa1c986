import type { EntityManager } from '@mikro-orm/postgresql';

import { Customer } from './customers/customer.entity.js';
import { Product } from './products/product.entity.js';

export const ADA = { id: 1, email: 'ada@example.com' };
export const GRACE = { id: 2, email: 'grace@example.com' };
export const LAMP = { id: 1, name: 'lamp', stock: 3 };
export const CHAIR = { id: 2, name: 'chair', stock: 100 };

/** What all tests of the shop start from. */
export const FIXTURES = { customers: [ADA, GRACE], products: [LAMP, CHAIR] };

/** Inserts them into empty tables, and commits. */
export async function insertFixtures(session: EntityManager): Promise<void> {
  session.persist(FIXTURES.customers.map(({ email }) => new Customer(email)));
  session.persist(FIXTURES.products.map(({ name, stock }) => new Product(name, stock)));
  await session.flush();
}
