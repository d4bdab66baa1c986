import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** What a sensor has measured. */
@Entity()
export class Reading {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  sensor!: string;

  @Property({ type: 'double' })
  value!: number;
}
