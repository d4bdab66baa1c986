import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, NotFoundException, UnprocessableEntityException } from '@nestjs/common';
import { InjectSession, NewDbContext } from 'nestjs-db-context';

import { Product } from './product.entity.js';
import { Shortage } from './shortage.entity.js';

@Injectable()
export class StockService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async take(productId: number, quantity: number): Promise<Product> {
    const product = await this.session.findOne(Product, productId);
    if (product === null) {
      throw new NotFoundException(`There is no product ${productId}.`);
    }
    if (product.stock < quantity) {
      // The request is going to be rolled back, and this is not.
      await this.recordShortage(productId, quantity - product.stock);
      throw new UnprocessableEntityException(`There are only ${product.stock} of ${product.name}.`);
    }
    product.stock -= quantity;
    return product;
  }

  /** In the database of the request, and yet in a transaction of its own: on a second connection. */
  @NewDbContext()
  async recordShortage(product: number, missing: number): Promise<void> {
    await this.session.insert(Shortage, { product, missing });
  }
}
