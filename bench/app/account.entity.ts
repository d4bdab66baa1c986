import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** The row that all workloads read, change, or insert. */
@Entity({ tableName: 'account' })
export class Account {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  owner: string;

  @Property({ type: 'integer' })
  balance = 0;

  constructor(owner: string) {
    this.owner = owner;
  }
}

/** Number of rows; it is large enough that concurrent requests do not wait for one another's rows. */
export const ACCOUNTS = 1_000;

export const ACCOUNT_SCHEMA = `
  create table account (id serial primary key, owner text not null, balance integer not null);
  insert into account (owner, balance)
    select 'owner ' || n, 100 from generate_series(1, ${ACCOUNTS}) n`;
