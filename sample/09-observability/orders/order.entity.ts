import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'orders' })
export class Order {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  item: string;

  /** What nobody may find in a trace. */
  @Property({ type: 'text' })
  card: string;

  @Property({ type: 'integer' })
  count = 1;

  constructor(item: string, card: string) {
    this.item = item;
    this.card = card;
  }
}
