import { Collection, defineEntity, MikroORM, p, type EntityManager } from '@mikro-orm/postgresql';

import { hasChanges } from '../../lib/session/changes.js';
import { lookAtManaged, type Finding } from '../../lib/session/managed-entities.js';

const Place = defineEntity({
  name: 'Place',
  embeddable: true,
  properties: { city: p.string().nullable() },
});

const Shelf = defineEntity({
  name: 'Shelf',
  properties: {
    id: p.integer().primary(),
    label: p.string(),
    changedAt: p
      .integer()
      .onUpdate(() => 7)
      .nullable(),
    books: () => p.oneToMany(Book).mappedBy('shelf'),
  },
});

const Tag = defineEntity({
  name: 'Tag',
  properties: { id: p.integer().primary(), word: p.string() },
});

const Book = defineEntity({
  name: 'Book',
  properties: {
    id: p.integer().primary(),
    title: p.string(),
    details: p.json<Record<string, unknown>>().nullable(),
    printedOn: p.datetime().nullable(),
    place: () => p.embedded(Place).nullable(),
    shelf: () => p.manyToOne(Shelf).nullable(),
    tags: () => p.manyToMany(Tag),
  },
});

/** What the cases change. */
function loaded(em: EntityManager) {
  const shelf = em.map(Shelf, { id: 1, label: 'old' });
  em.map(Tag, { id: 3, word: 'red' });
  const book = em.map(Book, {
    id: 2,
    title: 'old',
    details: { pages: { read: 1 } },
    printed_on: '2026-01-02T03:04:05.000Z',
    place_city: 'Utrecht',
    shelf: 1,
  } as never);
  const tags = book.tags as Collection<object>;
  tags.hydrate([em.getReference(Tag, 3)]);
  return { em, shelf, book, tags };
}

type Loaded = ReturnType<typeof loaded>;

describe('what is managed, looked at without change sets', () => {
  let orm: MikroORM;

  beforeAll(() => {
    orm = new MikroORM({ dbName: 'none', entities: [Book, Place, Shelf, Tag] });
  });

  const cases: Readonly<Record<string, readonly [Finding, (at: Loaded) => void]>> = {
    nothing: ['unchanged', () => undefined],
    'a reference that nobody has loaded': ['unchanged', ({ em }) => void em.getReference(Shelf, 9)],
    'a reference that nobody has loaded, to which a value was assigned': [
      'changed',
      ({ em }) => void (em.getReference(Shelf, 9).label = 'new'),
    ],
    'the same value again': ['unchanged', ({ book }) => void (book.title = 'old')],
    'the same date, as another object': [
      'unchanged',
      ({ book }) => void (book.printedOn = new Date(book.printedOn!)),
    ],
    'a value': ['changed', ({ book }) => void (book.title = 'new')],
    'a value within JSON': [
      'changed',
      ({ book }) => void ((book.details!['pages'] as { read: number }).read = 2),
    ],
    'a date, in place': ['changed', ({ book }) => void book.printedOn!.setFullYear(2000)],
    'a value of an embeddable': ['changed', ({ book }) => void (book.place!.city = 'Delft')],
    'a relation to another one': [
      'changed',
      ({ em, book }) => void (book.shelf = em.getReference(Shelf, 9) as never),
    ],
    'a relation to none': ['changed', ({ book }) => void (book.shelf = null)],
    'a relation to a new one': [
      'changed',
      ({ em, book }) =>
        void (book.shelf = em.create(Shelf, { id: 5, label: 'new' }, { persist: false }) as never),
    ],
    'a collection, to which one was added': [
      'changed',
      ({ em, book }) => book.tags.add(em.getReference(Tag, 4)),
    ],
    'a collection, of which one was removed': ['changed', ({ book }) => book.tags.removeAll()],
    'a collection that leads to a new one': [
      'changed',
      ({ em, tags }) => tags.hydrate([em.create(Tag, { id: 6, word: 'new' }, { persist: false })]),
    ],
  };

  it.each(Object.entries(cases))('S3: %s: as its change sets say', (_, [finding, change]) => {
    const ours = loaded(orm.em.fork());
    change(ours);
    const theirs = loaded(orm.em.fork());
    change(theirs);
    const uow = theirs.em.getUnitOfWork();
    uow.computeChangeSets();
    const computed = uow.getChangeSets().length + uow.getCollectionUpdates().length;

    expect(lookAtManaged(ours.em)).toBe(finding);
    expect(hasChanges(ours.em)).toBe(computed > 0);
    expect(finding === 'changed').toBe(computed > 0 && finding !== 'unclear');
  });

  it('S3: nothing waits afterwards that did not wait before', () => {
    const { em } = loaded(orm.em.fork());
    expect(hasChanges(em)).toBe(false);
    const uow = em.getUnitOfWork();
    expect([uow.getPersistStack().size, uow.getChangeSets().length]).toEqual([0, 0]);
  });
});
