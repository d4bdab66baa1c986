import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** One of the rows that a unit of work writes: all of them, or none. */
@Entity({ tableName: 'entry' })
export class Entry {
  /** The key of the unit of work that wrote the row. */
  @PrimaryKey({ type: 'text' })
  key!: string;

  @PrimaryKey({ type: 'integer' })
  part!: number;
}

/** What requests that are run again all change. */
@Entity({ tableName: 'tally' })
export class Tally {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'integer' })
  value!: number;
}

/** Rows of one unit of work. */
export const PARTS = 2;

export const SOAK_SCHEMA = `
  create table entry (key text not null, part integer not null, primary key (key, part));
  create table tally (id integer primary key, value integer not null);
  insert into tally values (1, 0)`;
