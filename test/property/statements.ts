import type { EntityManager } from '@mikro-orm/postgresql';

import { Note } from '../support/note.entity.js';
import { TAKEN, seedOf, type Op, type Trace } from './program.js';

/** Runs one statement as a line of a service would. */
export async function runStatement(
  op: Extract<Op, { readonly kind: 'statement' }>,
  em: EntityManager,
  trace: Trace,
): Promise<void> {
  switch (op.statement) {
    case 'insert':
      return void (await em.insert(Note, { text: `n${op.id}` }));
    case 'update':
      return void (await em.nativeUpdate(Note, { text: seedOf(op) }, { text: `u${op.id}` }));
    case 'delete':
      return void (await em.nativeDelete(Note, { text: seedOf(op) }));
    case 'persist':
      return void em.persist(new Note(`p${op.id}`));
    case 'persistTaken':
      return void em.persist(new Note(TAKEN));
    case 'flush':
      return em.flush();
    case 'find':
      return void (await em.find(Note, { text: TAKEN }));
    case 'read': {
      const rows = await em.execute<{ text: string }[]>('select text from note');
      const texts = rows.map(({ text }) => text).toSorted();
      trace.push(`read #${op.id}: ${texts.join(' ')}`);
      return undefined;
    }
    case 'duplicate':
      return void (await em.insert(Note, { text: TAKEN }));
    case 'divide':
      return void (await em.execute('select 1 / 0'));
    case 'orphan':
      return void (await em.execute('insert into orphan (parent) values (1)'));
  }
}
