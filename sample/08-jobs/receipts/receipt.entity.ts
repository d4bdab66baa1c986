import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'receipt' })
export class Receipt {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'integer' })
  orderId: number;

  constructor(orderId: number) {
    this.orderId = orderId;
  }
}
