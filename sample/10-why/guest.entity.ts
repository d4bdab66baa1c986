import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** Somebody who has booked before. */
@Entity()
export class Guest {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text', unique: true })
  name!: string;
}
