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
} from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { Author, Book } from './library.entities.js';
import { BooksLoader } from './books.loader.js';

@Resolver(() => Author)
export class LibraryResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly booksLoader: BooksLoader,
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
    return book;
  }

  @Query(() => Int)
  bookCount(): Promise<number> {
    return this.session.count(Book);
  }
}
