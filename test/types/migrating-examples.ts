// The code of docs/migrating.md; tsc checks it here, and a spec checks that it is the same.
import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig, EntityManager, EntityRepository, MikroORM } from '@mikro-orm/postgresql';
import { ConflictException, Injectable, Module, type Type } from '@nestjs/common';
import {
  DbContext,
  DbContextModule,
  InjectRepository,
  InjectSession,
  WithDbContext,
} from 'nestjs-db-context';

import { Author } from '../support/library.entities.js';
import { Note as AuditEntry } from '../support/note.entity.js';

declare const AuthorsModule: Type;

const clientUrl = 'postgres://localhost/app';

@Module({
  imports: [
    MikroOrmModule.forRoot({ ...defineConfig({ clientUrl }), autoLoadEntities: true }),
    DbContextModule.forRootAsync({
      inject: [MikroORM],
      useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
    }),
    AuthorsModule,
  ],
})
export class AdoptedModule {}

@Injectable()
export class AuthorsService {
  constructor(
    private readonly em: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async add(name: string): Promise<Author> {
    const author = new Author(name);
    try {
      await this.em.persist(author).flush(); // stays: this error has an answer of its own
    } catch (error) {
      await this.audit(`${name} was refused`);
      throw new ConflictException('There is an author of that name', { cause: error });
    }
    return author;
  }

  private async audit(text: string): Promise<void> {
    // kept although the request fails
    await this.dbContext.runInNewContext(() => this.em.insert(AuditEntry, { text }));
  }
}

@Injectable()
export class Authors {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectRepository(Author) private readonly authors: EntityRepository<Author>,
  ) {}
}

@Module({
  imports: [
    DbContextModule.forRoot({ connections: [defineConfig({ clientUrl })] }),
    DbContextModule.forFeature([Author, AuditEntry]),
  ],
  providers: [Authors],
})
export class AppModule {}

@Injectable()
export class NightlyJob {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext() // was @CreateRequestContext()
  async run(): Promise<void> {
    await this.session.nativeDelete(AuditEntry, { text: '' });
  }
}

@Injectable()
export class SignUp {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  signUp(name: string): Author {
    const author = new Author(name);
    this.session.persist(author);
    this.dbContext.onCommit(() => this.welcome(name)); // was runOnTransactionCommit()
    return author;
  }

  protected async welcome(_name: string): Promise<void> {}
}
