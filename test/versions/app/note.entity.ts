import { defineEntity, p, type InferEntity } from '@mikro-orm/core';

/** Without decorators, whose package is not always of the version of MikroORM's other packages. */
export const Note = defineEntity({
  name: 'Note',
  tableName: 'note',
  properties: {
    id: p.integer().primary().autoincrement(),
    text: p.text(),
  },
});

export type NoteRow = InferEntity<typeof Note>;

/** `xid` is the transaction that inserted the row; two equal texts fail at the COMMIT. */
export const NOTE_SCHEMA = `
  create table note (
    id serial primary key,
    text text not null unique deferrable initially deferred,
    xid xid8 not null default pg_current_xact_id()
  )`;
