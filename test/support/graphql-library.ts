import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, UseGuards, type CanActivate } from '@nestjs/common';
import {
  Args,
  Context,
  Field,
  Int,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
} from '@nestjs/graphql';
import DataLoader from 'dataloader';
import { InjectSession } from 'nestjs-db-context';

import { Author, Book } from './library.entities.js';
import { Note } from './note.entity.js';

@ObjectType('Book')
class BookType {
  @Field(() => Int)
  id!: number;

  @Field()
  title!: string;

  // By the default resolver: a reference that is not loaded.
  @Field(() => AuthorType)
  author!: object;
}

@ObjectType('Author')
export class AuthorType {
  @Field(() => Int)
  id!: number;

  @Field()
  name!: string;

  // By the default resolver: a collection that is not loaded.
  @Field(() => [BookType])
  books!: object;
}

@ObjectType('Note')
class NoteType {
  @Field(() => Int)
  id!: number;

  @Field()
  text!: string;
}

/** Loads the books of many authors with one query; one loader for each operation. */
@Injectable()
export class BooksLoader {
  readonly #loaders = new WeakMap<object, DataLoader<number, Book[]>>();

  constructor(@InjectSession() private readonly session: EntityManager) {}

  of(operation: object): DataLoader<number, Book[]> {
    const loader = this.#loaders.get(operation) ?? new DataLoader((ids) => this.#load(ids));
    this.#loaders.set(operation, loader);
    return loader;
  }

  async #load(ids: readonly number[]): Promise<Book[][]> {
    const books = await this.session.find(Book, { author: { $in: [...ids] } });
    return ids.map((id) => books.filter(({ author }) => author.id === id));
  }
}

/** Lets everybody in, and looks into the database for it. */
@Injectable()
export class ReadingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    return (await this.session.count(Author)) >= 0;
  }
}

@Resolver(() => AuthorType)
export class AuthorsResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly books: BooksLoader,
  ) {}

  @Query(() => [AuthorType])
  authors(): Promise<Author[]> {
    return this.session.find(Author, {}, { orderBy: { id: 'asc' } });
  }

  @Query(() => [BookType])
  books_(): Promise<Book[]> {
    return this.session.find(Book, {}, { orderBy: { id: 'asc' } });
  }

  @UseGuards(ReadingGuard)
  @Query(() => [AuthorType])
  guarded(): Promise<Author[]> {
    return this.authors();
  }

  @Query(() => String)
  nothing(): string {
    return 'nothing';
  }

  @Query(() => String)
  xid(): Promise<string> {
    return xidOf(this.session);
  }

  @ResolveField(() => [BookType])
  loadedBooks(@Parent() author: Author, @Context() context: object): Promise<Book[]> {
    return this.books.of(context).load(author.id);
  }

  @ResolveField(() => [BookType])
  async relatedBooks(@Parent() author: Author): Promise<Book[]> {
    return (await author.books.load()).getItems();
  }

  @ResolveField(() => String, { name: 'xid' })
  xidOfField(): Promise<string> {
    return xidOf(this.session);
  }
}

@Resolver(() => NoteType)
export class NotesResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  /** Only persists: the flush has to come before the `id` is asked for. */
  @Mutation(() => NoteType)
  addNote(@Args('text') text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }

  @Mutation(() => NoteType, { nullable: true })
  async refuse(@Args('text') text: string): Promise<Note> {
    await this.session.insert(Note, { text });
    throw new Error('refused');
  }

  /** Breaks a constraint that the server checks at the COMMIT. */
  @Mutation(() => Int)
  async addTwice(@Args('text') text: string): Promise<number> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text });
    await this.session.insert(Note, { text });
    return 2;
  }

  @Mutation(() => Int)
  countInMutation(): Promise<number> {
    return this.session.createQueryBuilder(Note).getCount();
  }

  @ResolveField(() => String, { name: 'xid' })
  xidOfNote(): Promise<string> {
    return xidOf(this.session);
  }
}

async function xidOf(session: EntityManager): Promise<string> {
  const [row] = await session.execute<{ xid: string }[]>(
    'select pg_current_xact_id()::text as xid',
  );
  return row!.xid;
}
