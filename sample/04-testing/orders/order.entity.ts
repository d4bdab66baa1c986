import { Entity, ManyToOne, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

import { Customer } from '../customers/customer.entity.js';
import { Product } from '../products/product.entity.js';

/** `paying`: the payment service was asked, and its answer is not known yet. */
export type OrderStatus = 'open' | 'paying' | 'paid';

@Entity({ tableName: 'customer_order' })
export class Order {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @ManyToOne({ entity: () => Customer })
  customer: Customer;

  @ManyToOne({ entity: () => Product })
  product: Product;

  @Property({ type: 'integer' })
  quantity: number;

  @Property({ type: 'text' })
  status: OrderStatus = 'open';

  @Property({ type: 'datetime' })
  placedAt = new Date();

  constructor(customer: Customer, product: Product, quantity: number) {
    this.customer = customer;
    this.product = product;
    this.quantity = quantity;
  }
}
