import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** An entity of {@link ROWS_TABLE}, of which many are inserted, or read as a stream. */
@Entity({ tableName: 'growth_row' })
export class Row {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  owner: string;

  @Property({ type: 'integer' })
  balance: number;

  constructor(owner: string, balance: number) {
    this.owner = owner;
    this.balance = balance;
  }
}

/** A class of one row of a table that every database has. */
export interface AccountClass {
  new (): { id: number; owner: string; balance: number };
}

/**
 * Makes a class of the table `account`. Each MikroORM instance gets its own: it writes what it knows into the
 * prototype of an entity.
 */
export function accountClass(): AccountClass {
  @Entity({ tableName: 'account' })
  class Account {
    @PrimaryKey({ type: 'integer', autoincrement: true })
    id!: number;

    @Property({ type: 'text' })
    owner!: string;

    @Property({ type: 'integer' })
    balance!: number;
  }
  return Account;
}

/** Rows that can be read as a stream: those with an id from 1 to this one. */
export const streamSchema = (rows: number): string => `
  create table growth_row (id serial primary key, owner text not null, balance integer not null);
  insert into growth_row (owner, balance)
    select 'owner ' || n, n from generate_series(1, ${rows}) n;
  analyze growth_row`;
