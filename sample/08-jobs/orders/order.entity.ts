import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'customer_order' })
export class Order {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  item: string;

  @Property({ type: 'boolean' })
  hasReceipt = false;

  constructor(item: string) {
    this.item = item;
  }
}
