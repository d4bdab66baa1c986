import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';

/** A row that tests write and count. */
@Entity({ tableName: 'note' })
export class Note {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** `xid` is the transaction that inserted the row, as the server saw it. */
export const NOTE_SCHEMA = `
  create table note (
    id serial primary key,
    text text not null,
    xid xid8 not null default pg_current_xact_id(),
    constraint note_text_unique unique (text) deferrable initially immediate
  )`;
