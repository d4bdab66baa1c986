import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** A seat that is taken. */
@Entity()
export class Booking {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text', unique: true })
  seat!: string;
}
