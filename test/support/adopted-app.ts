import { Collection, EntityRepositoryType, type Ref } from '@mikro-orm/core';
import {
  Entity,
  ManyToOne,
  OneToMany,
  PrimaryKey,
  Property,
  Transactional,
} from '@mikro-orm/decorators/legacy';
import { InjectRepository, MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig, EntityManager, EntityRepository, MikroORM } from '@mikro-orm/postgresql';
import {
  BadRequestException,
  Body,
  ConflictException,
  Controller,
  Get,
  Injectable,
  Module,
  NotFoundException,
  Param,
  ParseIntPipe,
  Patch,
  Post,
  type DynamicModule,
} from '@nestjs/common';

// A small application as its authors wrote it on @mikro-orm/nestjs, before they knew of this library. The
// names of its classes say how each of them reaches the database; nothing of it is changed for the tests.

/** The repository of a publisher, which MikroORM's documentation injects by its class. */
export class PublisherRepository extends EntityRepository<Publisher> {
  async rename(id: number, name: string): Promise<Publisher> {
    const publisher = await this.findOneOrFail(id);
    publisher.name = name;
    await this.getEntityManager().flush();
    return publisher;
  }
}

@Entity({ tableName: 'publisher', repository: () => PublisherRepository })
export class Publisher {
  [EntityRepositoryType]?: PublisherRepository;

  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  name: string;

  @OneToMany({ entity: () => Title, mappedBy: 'publisher' })
  titles = new Collection<Title>(this);

  constructor(name: string) {
    this.name = name;
  }
}

@Entity({ tableName: 'title' })
export class Title {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  text: string;

  @ManyToOne({ entity: () => Publisher, ref: true })
  publisher!: Ref<Publisher>;

  constructor(text: string) {
    this.text = text;
  }
}

@Entity({ tableName: 'entry' })
export class Entry {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** `xid` is the transaction that wrote the row last, as the server saw it. */
export const ADOPTED_SCHEMA = `
  create table publisher (id serial primary key, name text not null unique);
  create table title (
    id serial primary key,
    text text not null,
    publisher_id int not null references publisher (id)
  );
  create table entry (id serial primary key, text text not null)`;

@Injectable()
class JournalService {
  constructor(private readonly orm: MikroORM) {}

  async write(text: string): Promise<void> {
    this.orm.em.persist(new Entry(text));
    await this.orm.em.flush();
  }
}

@Injectable()
class PublisherService {
  constructor(
    private readonly em: EntityManager,
    private readonly publishers: PublisherRepository,
    @InjectRepository(Title) private readonly titles: EntityRepository<Title>,
    private readonly journal: JournalService,
  ) {}

  async create(name: string): Promise<Publisher> {
    const publisher = this.publishers.create({ name });
    this.em.persist(publisher);
    try {
      await this.em.flush();
    } catch (error) {
      throw new ConflictException('The name is taken', { cause: error });
    }
    await this.journal.write(`created ${publisher.id}`);
    return publisher;
  }

  async rename(id: number, name: string): Promise<Publisher> {
    const publisher = await this.publishers.rename(id, name);
    await this.journal.write(`renamed ${id}`);
    return publisher;
  }

  @Transactional()
  async publish(id: number, texts: readonly string[]): Promise<void> {
    const publisher = await this.publishers.findOne(id, { populate: ['titles'] });
    if (publisher === null) {
      throw new NotFoundException();
    }
    publisher.titles.add(texts.map((text) => new Title(text)));
    await this.journal.write(`published ${texts.length}`);
    if (texts.includes('')) {
      throw new BadRequestException('A title has no text');
    }
  }

  /** Skips titles that cannot be written, as a nested transaction lets it. */
  async importTitles(id: number, texts: readonly (string | null)[]): Promise<number> {
    let written = 0;
    for (const text of texts) {
      try {
        await this.em.transactional(async (em) => {
          await em.insert(Title, { text, publisher: id } as never);
        });
        written += 1;
      } catch {
        // A text that is missing is none of the errors that the caller wants to know of.
      }
    }
    await this.journal.write(`imported ${written}`);
    return written;
  }

  async titlesOf(id: number): Promise<string[]> {
    const titles = await this.titles.find({ publisher: id }, { orderBy: { id: 'asc' } });
    return titles.map(({ text }) => text);
  }

  async list(): Promise<string[]> {
    const publishers = await this.em.find(Publisher, {}, { orderBy: { id: 'asc' } });
    const titles = await Promise.all(publishers.map((each) => each.titles.loadCount()));
    return publishers.map(({ name }, index) => `${name}: ${titles[index]}`);
  }
}

@Controller('publishers')
class PublisherController {
  constructor(private readonly publishers: PublisherService) {}

  @Get()
  list(): Promise<string[]> {
    return this.publishers.list();
  }

  @Post()
  async create(@Body('name') name: string): Promise<{ id: number }> {
    const { id } = await this.publishers.create(name);
    return { id };
  }

  @Patch(':id')
  async rename(
    @Param('id', ParseIntPipe) id: number,
    @Body('name') name: string,
  ): Promise<{ name: string }> {
    const publisher = await this.publishers.rename(id, name);
    return { name: publisher.name };
  }

  @Get(':id/titles')
  titles(@Param('id', ParseIntPipe) id: number): Promise<string[]> {
    return this.publishers.titlesOf(id);
  }

  @Post(':id/titles')
  async publish(
    @Param('id', ParseIntPipe) id: number,
    @Body('texts') texts: string[],
  ): Promise<string[]> {
    await this.publishers.publish(id, texts);
    return this.publishers.titlesOf(id);
  }

  @Post(':id/import')
  async importTitles(
    @Param('id', ParseIntPipe) id: number,
    @Body('texts') texts: (string | null)[],
  ): Promise<{ written: number }> {
    return { written: await this.publishers.importTitles(id, texts) };
  }
}

@Module({
  imports: [MikroOrmModule.forFeature([Publisher, Title, Entry])],
  controllers: [PublisherController],
  providers: [PublisherService, JournalService],
})
class PublisherModule {}

/** What the AppModule of the application imports. */
export function adoptedImports(clientUrl: string): (DynamicModule | Promise<DynamicModule>)[] {
  return [
    MikroOrmModule.forRoot({
      ...defineConfig({ clientUrl, ensureDatabase: false, pool: { min: 0, max: 5 } }),
      autoLoadEntities: true,
    }),
    { module: PublisherModule },
  ];
}
