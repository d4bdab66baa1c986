import { ref } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Args,
  Context,
  Int,
  Mutation,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { PubSub } from 'graphql-subscriptions';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { Author, Book } from './library.entities.js';
import { BooksLoader } from './books.loader.js';

/** What is published when a book has been saved. */
interface BookAdded {
  readonly id: number;
}

@Resolver(() => Author)
export class LibraryResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly booksLoader: BooksLoader,
    private readonly dbContext: DbContext,
    private readonly pubSub: PubSub,
  ) {}

  @Query(() => [Author])
  authors(): Promise<Author[]> {
    return this.session.find(Author, {}, { orderBy: { id: 'asc' } });
  }

  @ResolveField(() => [Book])
  books(@Parent() author: Author, @Context() operation: object): Promise<Book[]> {
    return this.booksLoader.of(operation).load(author.id);
  }

  /** Flushed before its fields are resolved, so that the answer has the id. */
  @Mutation(() => Author)
  addAuthor(@Args('name') name: string): Author {
    const author = new Author(name);
    this.session.persist(author);
    return author;
  }

  /** An author that does not exist is an error, with which the operation saves nothing. */
  @Mutation(() => Book, { nullable: true })
  async addBook(@Args('author') name: string, @Args('title') title: string): Promise<Book> {
    const book = new Book(title);
    book.author = ref(await this.session.findOneOrFail(Author, { name }));
    this.session.persist(book);
    // Before the commit, nobody would find the book, and it might never be saved.
    this.dbContext.onCommit(() => this.pubSub.publish('bookAdded', { id: book.id }));
    return book;
  }

  /** Each event is resolved in a context of its own, with its fields. */
  @Subscription(() => Book, {
    resolve(this: LibraryResolver, { id }: BookAdded) {
      return this.session.findOneOrFail(Book, id);
    },
  })
  bookAdded(): AsyncIterableIterator<BookAdded> {
    return this.pubSub.asyncIterableIterator('bookAdded');
  }

  @Query(() => Int)
  bookCount(): Promise<number> {
    return this.session.count(Book);
  }
}
