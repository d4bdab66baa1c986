import { Entity, PrimaryKey, Property, Unique } from '@mikro-orm/decorators/legacy';

@Entity({ tableName: 'account' })
export class Account {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  owner: string;

  /** Money is a whole number of cents, never a fraction. */
  @Property({ type: 'integer' })
  balanceCents: number;

  @Property({ type: 'integer' })
  failedLogins = 0;

  /** What a client sends in `x-account-key`. `hidden`: not in any response. */
  @Property({ type: 'text', hidden: true })
  @Unique()
  key: string;

  @Property({ type: 'text', hidden: true })
  pinHash: string;

  constructor(owner: string, balanceCents: number, key: string, pinHash: string) {
    this.owner = owner;
    this.balanceCents = balanceCents;
    this.key = key;
    this.pinHash = pinHash;
  }
}
