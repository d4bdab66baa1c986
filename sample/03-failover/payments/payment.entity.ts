import { Entity, PrimaryKey, Property, Unique } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'payment' })
export class Payment {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  /** Chosen by the client, so that it can find out what became of a request without an answer. */
  @Property({ type: 'text' })
  @Unique()
  reference: string;

  @Property({ type: 'integer' })
  amountCents: number;

  constructor(reference: string, amountCents: number) {
    this.reference = reference;
    this.amountCents = amountCents;
  }
}
