import { Routine } from '@mikro-orm/core';

export const ADD_ONE = new Routine({
  name: 'add_one',
  type: 'function',
  params: { n: { type: 'int' } },
  returns: { runtimeType: 'number', columnType: 'int' },
  body: 'select n + 1',
});

export const DOUBLED = new Routine({
  name: 'doubled',
  type: 'procedure',
  params: { n: { type: 'int' }, twice: { type: 'int', direction: 'out', ref: true } },
  body: 'twice := n * 2',
});

export const CURSORS = new Routine({
  name: 'cursors',
  type: 'procedure',
  params: { first: { type: 'refcursor', direction: 'out', ref: true } },
  body: 'open first for select id, name from author order by id',
});
