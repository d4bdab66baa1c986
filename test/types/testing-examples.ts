// The code of docs/testing.md; tsc checks it here, and a spec checks that it is the same.
import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { Injectable, type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DbContext, InjectSession } from 'nestjs-db-context';
import {
  captureOnCommit,
  createWorkerDatabase,
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  openTestContext,
  provideTestRepository,
  provideTestSession,
  recordContexts,
  TestDbContext,
  useTestTransaction,
  type WorkerDatabase,
} from 'nestjs-db-context/testing';

/** The part of supertest that the examples use. */
interface Call extends Promise<{ readonly status: number }> {
  send(body: object): Call;
  expect(status: number): Call;
}
declare function request(server: unknown): { get(path: string): Call; post(path: string): Call };

declare function hashOfMigrations(): string;
declare function startApp(url: string): Promise<INestApplication>;

@Entity()
class Order {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'text' })
  item!: string;
}

@Injectable()
class OrderService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async place(item: string): Promise<void> {
    await this.dbContext.atomic(() => this.session.insert(Order, { id: 1, item }));
  }
}

export function sharedTransaction(app: INestApplication, database: WorkerDatabase): unknown {
  const db = useTestTransaction(() => app);

  it('lists orders', async () => {
    await db.session().insert(Order, { id: 1, item: 'prepared by the test' });
    await request(app.getHttpServer()).post('/orders').send({ item: 'lamp' }).expect(201);

    expect(await db.session().count(Order)).toBe(2);
  });

  const own = useTestTransaction(() => app, { beforeEach, afterEach });

  const looked = useTestTransaction(() => app, { keepOnFailure: true });

  afterAll(async () => {
    await app.close();
    if (!looked.hasKeptRows) {
      await database.drop();
    }
  });

  let lamp: Order;

  db.beforeAll((session) => {
    lamp = session.create(Order, { item: 'lamp' });
  });

  it('shows an order', async () => {
    await request(app.getHttpServer()).get(`/orders/${lamp.id}`).expect(200);
  });

  it('goes on after a failure', async () => {
    const twice = db.session().insert(Order, { id: 1, item: 'twice' });
    await expect(twice).rejects.toThrow('duplicate key');
    await request(app.getHttpServer()).get('/orders').expect(200);
  });

  return own;
}

async function migrate(url: string): Promise<void> {
  const orm = await MikroORM.init(defineConfig({ clientUrl: url, entities: [Order] }));
  await orm.schema.create();
  await orm.close();
}

export function separateSessions(): void {
  let app: INestApplication;
  let database: WorkerDatabase;

  beforeAll(async () => {
    database = await createWorkerDatabase({
      serverUrl: 'postgres://postgres:postgres@localhost:5432/postgres',
      template: { name: 'shop_test', prepare: migrate, version: hashOfMigrations() },
    });
    app = await startApp(database.url);
  });
  afterEach(() => database.reset());
  afterAll(async () => {
    await app.close();
    await database.drop();
  });
}

export async function whatHappened(
  app: INestApplication,
  dbContext: DbContext,
  session: EntityManager,
  orders: OrderService,
): Promise<unknown> {
  await expectCommitted(app, () => orders.place('a'));
  await expectRolledBack(app, () => request(app.getHttpServer()).post('/orders').send({}));
  const [ended] = await recordContexts(app, () => dbContext.run(() => session.count(Order)));

  // an N+1 guard
  await expectStatements(app, { atMost: 2 }, () => request(app.getHttpServer()).get('/orders'));
  await expectStatements(app, ['select', /^insert into "order"/], () => orders.place('a'));

  const callbacks = await captureOnCommit(app, () => orders.place('b'));
  await callbacks[0]!();

  expectNoOpenConnections(app);

  return ended;
}

export async function testContext(app: INestApplication, orders: OrderService): Promise<void> {
  await using context = openTestContext(app);
  await orders.place('a');
  expect(await context.session().count(Order)).toBe(1);
}

export async function withoutDatabase(fakeSession: object, fakeRepository: object): Promise<void> {
  const dbContext = new TestDbContext({ default: fakeSession });
  const module = await Test.createTestingModule({
    providers: [
      OrderService,
      provideTestSession(fakeSession),
      provideTestRepository(Order, fakeRepository),
      { provide: DbContext, useValue: dbContext },
    ],
  }).compile();
  await module.get(OrderService).place('lamp');
  await dbContext.settle();
}
