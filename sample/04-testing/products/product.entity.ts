import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'product' })
export class Product {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  name: string;

  @Property({ type: 'integer' })
  stock: number;

  constructor(name: string, stock: number) {
    this.name = name;
    this.stock = stock;
  }
}
