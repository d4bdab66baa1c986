import { Entity, ManyToOne, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

import { Product } from './product.entity.js';

/** Somebody wanted more of a product than there was. */
@Entity({ tableName: 'shortage' })
export class Shortage {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  /** Id of the product. */
  @ManyToOne({ entity: () => Product, mapToPk: true })
  product: number;

  @Property({ type: 'integer' })
  missing: number;

  constructor(product: number, missing: number) {
    this.product = product;
    this.missing = missing;
  }
}
