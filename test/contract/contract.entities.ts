import {
  Collection,
  EntityRepositoryType,
  OptionalProps,
  raw,
  type Ref,
  type ScalarRef,
} from '@mikro-orm/core';
import {
  Embeddable,
  Embedded,
  Entity,
  Enum,
  Filter,
  Formula,
  ManyToMany,
  ManyToOne,
  OneToMany,
  OneToOne,
  PrimaryKey,
  Property,
  Unique,
} from '@mikro-orm/decorators/legacy';
import { EntityRepository, type EntityManager } from '@mikro-orm/postgresql';

/** A repository of the application's own, which `em.getRepository()` has to find. */
export class AuthorRepository extends EntityRepository<Author> {
  named(name: string): Promise<Author | null> {
    return this.findOne({ name });
  }
}

@Embeddable()
export class Address {
  @Property({ type: 'text', nullable: true })
  street?: string | null;

  @Property({ type: 'text', nullable: true })
  city?: string | null;
}

@Entity({ tableName: 'author', repository: () => AuthorRepository })
export class Author {
  [OptionalProps]?: 'status' | 'version' | 'nameLength' | 'origin';
  [EntityRepositoryType]?: AuthorRepository;

  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  name!: string;

  @Property({ type: 'text' })
  @Unique({ name: 'author_email_unique' })
  email!: string;

  @Property({ type: 'integer', nullable: true })
  age?: number | null;

  @Enum({ items: ['active', 'retired'], type: 'string' })
  status: 'active' | 'retired' = 'active';

  @Property({ type: 'json', nullable: true })
  settings?: { theme?: string; tags?: string[] } | null;

  @Property({ type: 'text', nullable: true, lazy: true, ref: true })
  bio?: ScalarRef<string | null>;

  @Property({ type: 'text', nullable: true, onCreate: () => 'contract' })
  origin?: string | null;

  @Embedded({ entity: () => Address, nullable: true })
  address?: Address | null;

  @Property({ type: 'integer', version: true })
  version!: number;

  @Formula<Author>((columns) => `length(${columns.name})`, { type: 'integer' })
  nameLength?: number;

  @OneToMany({ entity: () => Book, mappedBy: 'author', orderBy: { id: 'asc' } })
  books = new Collection<Book>(this);

  @OneToOne({ entity: () => Profile, mappedBy: 'author', ref: true, nullable: true })
  profile?: Ref<Profile> | null;
}

@Entity({ tableName: 'profile' })
export class Profile {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  motto!: string;

  @OneToOne({ entity: () => Author, inversedBy: 'profile', ref: true })
  author!: Ref<Author>;
}

@Entity({ tableName: 'book' })
@Filter({ name: 'alive', cond: { deletedAt: null }, default: true })
@Filter({ name: 'dear', cond: (args) => ({ price: { $gte: args['min'] as number } }) })
export class Book {
  [OptionalProps]?: 'views';

  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  title!: string;

  @Property({ type: 'integer', nullable: true })
  price?: number | null;

  @Property({ type: 'bigint', default: '0' })
  views?: string;

  @Property({ type: 'datetime', nullable: true })
  deletedAt?: Date | null;

  @ManyToOne({ entity: () => Author, ref: true, nullable: true })
  author?: Ref<Author> | null;

  @ManyToMany({ entity: () => Tag, pivotTable: 'book_tag', inversedBy: 'books' })
  tags = new Collection<Tag>(this);
}

@Entity({ tableName: 'tag' })
export class Tag {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  @Unique({ name: 'tag_name_unique' })
  name!: string;

  @ManyToMany({ entity: () => Book, mappedBy: 'tags' })
  books = new Collection<Book>(this);
}

/** A composite primary key of two relations. */
@Entity({ tableName: 'membership' })
export class Membership {
  @ManyToOne({ entity: () => Author, primary: true, ref: true })
  author!: Ref<Author>;

  @ManyToOne({ entity: () => Tag, primary: true, ref: true })
  tag!: Ref<Tag>;

  @Property({ type: 'text' })
  role!: string;
}

/** A virtual entity: rows that a query makes up. */
@Entity({
  expression: (em: EntityManager) =>
    em
      .createQueryBuilder(Book, 'b')
      .select(['b.author', raw('count(b.id) as books')])
      .where({ author: { $ne: null } })
      .groupBy('b.author'),
})
export class AuthorStats {
  @Property({ type: 'integer', fieldName: 'author_id' })
  authorId!: number;

  @Property({ type: 'integer' })
  books!: number;
}

/** A materialized view. */
@Entity({
  tableName: 'author_names',
  view: { materialized: true },
  expression: 'select id, name from author order by id',
})
export class AuthorName {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'text' })
  name!: string;
}

export const ENTITIES = [Author, Profile, Book, Tag, Membership, AuthorStats, AuthorName];
