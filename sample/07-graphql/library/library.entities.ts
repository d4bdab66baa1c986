import { Collection, type Ref } from '@mikro-orm/core';
import { Entity, ManyToOne, OneToMany, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { Field, Int, ObjectType } from '@nestjs/graphql';

@ObjectType()
@Entity({ tableName: 'author' })
export class Author {
  @Field(() => Int)
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Field(() => String)
  @Property({ type: 'text', unique: true })
  name: string;

  @OneToMany({ entity: () => Book, mappedBy: 'author' })
  books = new Collection<Book>(this);

  constructor(name: string) {
    this.name = name;
  }
}

@ObjectType()
@Entity({ tableName: 'book' })
export class Book {
  @Field(() => Int)
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Field(() => String)
  @Property({ type: 'text' })
  title: string;

  // No resolver: a reference that is not loaded is loaded when it is asked for.
  @Field(() => Author)
  @ManyToOne({ entity: () => Author, ref: true })
  author!: Ref<Author>;

  constructor(title: string) {
    this.title = title;
  }
}
