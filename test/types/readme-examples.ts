// The program of README.md; tsc checks it here, a spec runs it, and another checks that it is the same.
import { LockMode } from '@mikro-orm/core';
import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Module, Param, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  DbConnection,
  DbContextModule,
  getConnectionToken,
  InjectSession,
} from 'nestjs-db-context';

@Entity()
export class Account {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  owner!: string;

  @Property({ type: 'integer' })
  balance!: number;
}

@Controller('accounts')
export class AccountsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  open(@Body() { owner }: { owner: string }): Account {
    return this.session.create(Account, { owner, balance: 0 });
  }

  @Post(':id/deposits')
  async deposit(@Param('id') id: string, @Body() { cents }: { cents: number }): Promise<Account> {
    const lockMode = LockMode.PESSIMISTIC_WRITE; // two deposits at once take turns
    const account = await this.session.findOneOrFail(Account, Number(id), { lockMode }); // sends BEGIN
    account.balance += cents;
    return account; // flushed and committed before the client hears of it
  }
}

const databaseUrl = process.env['DATABASE_URL'] ?? 'postgres://localhost/app';

@Module({
  imports: [
    DbContextModule.forRoot({
      connections: [defineConfig({ clientUrl: databaseUrl, entities: [Account] })],
    }),
  ],
  controllers: [AccountsController],
})
export class AppModule {}

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks(); // requests that run when the process is asked to end are still committed
await app.get<DbConnection>(getConnectionToken()).orm.schema.update(); // makes the table
await app.listen(process.env['PORT'] ?? 3000);
