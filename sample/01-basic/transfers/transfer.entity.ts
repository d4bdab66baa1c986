import { Entity, ManyToOne, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

import { Account } from '../accounts/account.entity.js';

@Entity({ tableName: 'transfer' })
export class Transfer {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  /** Id of the sender. */
  @ManyToOne({ entity: () => Account, mapToPk: true })
  from: number;

  /** Id of the receiver. */
  @ManyToOne({ entity: () => Account, mapToPk: true })
  to: number;

  @Property({ type: 'integer' })
  amountCents: number;

  @Property({ type: 'datetime' })
  sentAt = new Date();

  constructor(from: number, to: number, amountCents: number) {
    this.from = from;
    this.to = to;
    this.amountCents = amountCents;
  }
}
