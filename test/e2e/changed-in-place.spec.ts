import { Collection, Type } from '@mikro-orm/core';
import {
  Embeddable,
  Embedded,
  Entity,
  ManyToMany,
  PrimaryKey,
  Property,
} from '@mikro-orm/decorators/legacy';
import { defineConfig } from '@mikro-orm/postgresql';
import { recordStatements } from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startApp, type TestApp } from '../support/test-app.js';

/** A value of a class of the application, which only its type can compare. */
class Money {
  constructor(public cents: number) {}
}

class MoneyType extends Type<Money, number> {
  override convertToDatabaseValue(money: Money): number {
    return money.cents;
  }

  override convertToJSValue(cents: number): Money {
    return new Money(cents);
  }

  override getColumnType(): string {
    return 'integer';
  }

  override compareAsType(): string {
    return 'number';
  }
}

@Embeddable()
class Address {
  @Property({ type: 'text' })
  city = 'Bern';
}

/** An entity that leads to no other one. */
@Entity({ tableName: 'thing' })
class Thing {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'json' })
  json!: { list: number[] };

  @Property({ type: 'text[]' })
  words!: string[];

  @Property({ type: 'bytea' })
  bytes!: Buffer;

  @Property({ type: 'datetime' })
  at!: Date;

  @Property({ type: MoneyType })
  price!: Money;

  @Embedded(() => Address)
  address!: Address;

  @Property({ type: 'integer', version: true })
  version!: number;

  @Property({ type: 'text', nullable: true, onUpdate: () => 'by onUpdate' })
  touched?: string;

  @Property({ type: 'text', persist: false })
  note = '';
}

/** An entity that leads to others by a table between them, and by no column of its own. */
@Entity({ tableName: 'box' })
class Box {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @ManyToMany({ entity: () => Thing, pivotTable: 'box_thing' })
  things = new Collection<Thing>(this);
}

const SCHEMA = `
  create table thing (id int primary key, json jsonb not null, words text[] not null, bytes bytea not null,
    at timestamptz not null, price int not null, address_city text not null, version int not null default 1,
    touched text);
  insert into thing (id, json, words, bytes, at, price, address_city)
    values (1, '{"list":[1]}', '{a}', '\\x01', '2020-01-01Z', 1, 'Bern')`;

const CHANGES: readonly [string, (thing: Thing) => void, { readonly isSaved: boolean }][] = [
  ['a list in JSON', ({ json }) => json.list.push(2), { isSaved: true }],
  ['an array', ({ words }) => words.push('b'), { isSaved: true }],
  ['a value of a type of the application', ({ price }) => (price.cents = 2), { isSaved: true }],
  ['an embeddable', ({ address }) => (address.city = 'Basel'), { isSaved: true }],
  // MikroORM compares these with themselves.
  ['bytes', ({ bytes }) => bytes.writeUInt8(2), { isSaved: false }],
  ['a date', ({ at }) => at.setUTCFullYear(2021), { isSaved: false }],
];

describe('an entity without relations that is changed in place', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    app = await startApp({
      connections: [defineConfig({ clientUrl: database.url, entities: [Thing] })],
    });
  });
  beforeEach(() => database.query(`drop table if exists thing; ${SCHEMA}`));
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  const read = (): Promise<Thing> => app.session().findOneOrFail(Thing, 1);

  it.each(CHANGES)(
    'S3: %s is saved where MikroORM by itself saves it',
    async (_what, change, { isSaved }) => {
      const rows = (): Promise<object[]> => database.query('select * from thing');
      const before = await rows();
      const fork = app.connection().orm.em.fork();
      change(await fork.findOneOrFail(Thing, 1));
      await fork.flush();
      const expected = await rows();
      await database.query(`drop table thing; ${SCHEMA}`);

      await app.dbContext.run(async () => change(await read()));

      expect(await rows()).toEqual(expected);
      expect(expected).toEqual(
        isSaved ? [expect.objectContaining({ version: 2, touched: 'by onUpdate' })] : before,
      );
    },
  );

  it.each<[string, (thing: Thing) => void]>([
    ['nothing is changed', () => undefined],
    ['a change is taken back', (thing) => Object.assign(thing, { price: new Money(1) })],
    ['only what is not persisted changes', (thing) => (thing.note = 'changed')],
  ])('L3: sends no UPDATE where %s', async (_what, change) => {
    const sent = await recordStatements(app.app, () =>
      app.dbContext.run(async () => change(await read())),
    );

    expect(sent).toHaveLength(1);
    expect(await database.query('select version, touched from thing')).toEqual([
      { version: 1, touched: null },
    ]);
  });

  it('S3: saves a reference that was never loaded and is assigned to', async () => {
    await app.dbContext.run(() => {
      app.session().getReference(Thing, 1).price = new Money(7);
    });

    expect(await database.query('select price from thing')).toEqual([{ price: 7 }]);
  });

  it('S3: saves one that is removed, and one that is new', async () => {
    await app.dbContext.run(async () => {
      const session = app.session();
      const { price: _price, ...rest } = { ...(await read()) };
      session.remove(await read());
      session.create(Thing, { ...rest, id: 2, price: new Money(9) });
    });

    expect(await database.query('select id, price from thing')).toEqual([{ id: 2, price: 9 }]);
  });
});

describe('an entity that leads to others', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(`${SCHEMA};
      create table box (id int primary key);
      create table box_thing (box_id int references box, thing_id int references thing);
      insert into box values (1)`);
    const options = defineConfig({ clientUrl: database.url, entities: [Box, Thing] });
    app = await startApp({ connections: [options] });
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  it('S3: saves where it leads to, although no column of its own has changed', async () => {
    await app.dbContext.run(async () => {
      const thing = await app.session().findOneOrFail(Thing, 1);
      const box = await app.session().findOneOrFail(Box, 1, { populate: ['things'] });
      box.things.add(thing);
    });
    const added = await database.query('select * from box_thing');
    await app.dbContext.run(async () => {
      const box = await app.session().findOneOrFail(Box, 1, { populate: ['things'] });
      box.things.removeAll();
    });

    expect(added).toEqual([{ box_id: 1, thing_id: 1 }]);
    expect(await database.query('select * from box_thing')).toEqual([]);
  });
});
