import type { EntityManager } from '@mikro-orm/postgresql';
import { getRepositoryToken } from 'nestjs-db-context';

import { Author, AuthorRepository, Tag } from './contract.entities.js';
import { REPOSITORY_METHODS } from './surface.js';
import type { Kit, Scenario } from './contract.types.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

type Repository = AuthorRepository;
const DAN = { name: 'Dan', email: 'dan@example.org' };
const error = (thrown: unknown): unknown => thrown;

/** What `@InjectRepository()` injects stands in for `em.getRepository()`, for either face. */
function repositoryOf(em: EntityManager, { app, isSession }: Kit): Repository {
  return isSession
    ? app.app.get<Repository>(getRepositoryToken(Author), { strict: false })
    : em.getRepository(Author);
}

const SCENARIOS: Record<keyof typeof REPOSITORY_METHODS, (authors: Repository) => unknown> = {
  find: (authors) => authors.find({ age: { $gt: 1 } }, { populate: ['books'] }),
  findAll: (authors) => authors.findAll({ orderBy: { id: 'desc' } }),
  findOne: (authors) => Promise.all([authors.findOne(1), authors.named('Bob')]),
  findOneOrFail: (authors) => authors.findOneOrFail(99).catch(error),
  findAndCount: (authors) => authors.findAndCount({}, { limit: 1, orderBy: { id: 'asc' } }),
  findByCursor: async (authors) =>
    (await authors.findByCursor({ first: 1, orderBy: { id: 'asc' } })).items,
  stream: async (authors) => {
    const seen = [];
    for await (const author of authors.stream({ orderBy: { id: 'asc' } })) {
      seen.push(author);
    }
    return seen;
  },
  count: (authors) => Promise.all([authors.count(), authors.count({ id: 1 })]),
  countBy: (authors) => authors.countBy('status'),
  insert: (authors) => authors.insert(DAN),
  insertMany: (authors) => authors.insertMany([DAN] as never),
  upsert: (authors) => authors.upsert({ ...DAN, email: 'ann@example.org' }),
  upsertMany: (authors) => authors.upsertMany([{ ...DAN, email: 'ann@example.org' }]),
  nativeUpdate: (authors) => authors.nativeUpdate({ id: 1 }, { age: 1 }),
  nativeDelete: (authors) => authors.nativeDelete({ id: 3 }),
  create: (authors) => authors.create(DAN as never),
  assign: async (authors) => authors.assign(await authors.findOneOrFail(1), { age: 9 }),
  merge: (authors) => authors.merge({ id: 1, ...DAN }),
  map: (authors) => authors.map({ id: 1, name_length: 3 } as never),
  getReference: (authors) => authors.getReference(2),
  canPopulate: (authors) => [authors.canPopulate('books'), authors.canPopulate('no')],
  populate: async (authors) => authors.populate(await authors.findAll(), ['profile']),
  createQueryBuilder: (authors) => authors.createQueryBuilder('a').where({ 'a.id': 1 }).getResult(),
  qb: (authors) => authors.qb().getCount(),
  getEntityName: (authors) => authors.getEntityName(),
  getEntityManager: (authors) => authors.getEntityManager(),
};

describe('the repository', () => {
  for (const [method, scenario] of Object.entries(SCENARIOS)) {
    const touched: Scenario = async (em, kit) => {
      // Some methods send nothing, and no session would be there to compare.
      await em.count(Author);
      return scenario(repositoryOf(em, kit));
    };
    compare(`${method}()`, touched);
  }

  compare('is of the class that the entity declares', (em, kit) => [
    repositoryOf(em, kit) instanceof AuthorRepository,
    em.getRepository(Author) instanceof AuthorRepository,
    em.repo(Author) === em.getRepository(Author),
    em.id > 0,
  ]);
  compare.failure('refuses entities of another class', (em, kit) =>
    repositoryOf(em, kit).populate([em.getReference(Tag, 1)] as never, []),
  );
});

expectCovered('repository');
