import { defineConfig, type Options } from '@mikro-orm/postgresql';

import { AuditEntry } from './audit/audit-entry.entity.js';
import { Customer } from './customers/customer.entity.js';
import { Order } from './orders/order.entity.js';
import { Product } from './products/product.entity.js';
import { Shortage } from './products/shortage.entity.js';

export function shopOptions(clientUrl: string): Options {
  return defineConfig({ clientUrl, entities: [Customer, Order, Product, Shortage] });
}

export function auditOptions(clientUrl: string): Options {
  return defineConfig({ clientUrl, entities: [AuditEntry] });
}
