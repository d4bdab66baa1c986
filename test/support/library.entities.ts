import { Entity, ManyToOne, OneToMany, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { Collection, type Ref } from '@mikro-orm/core';

@Entity({ tableName: 'author' })
export class Author {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  name: string;

  @OneToMany({ entity: () => Book, mappedBy: 'author' })
  books = new Collection<Book>(this);

  constructor(name: string) {
    this.name = name;
  }
}

@Entity({ tableName: 'book' })
export class Book {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  title: string;

  @ManyToOne({ entity: () => Author, ref: true })
  author!: Ref<Author>;

  constructor(title: string) {
    this.title = title;
  }
}

export const LIBRARY_SCHEMA = `
  create table author (id serial primary key, name text not null);
  create table book (
    id serial primary key,
    title text not null,
    author_id int not null references author (id)
  )`;
