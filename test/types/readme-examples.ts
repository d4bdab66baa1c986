// The code of README.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, EntityManager } from '@mikro-orm/postgresql';
import { Injectable, Module } from '@nestjs/common';
import { DbContextModule, InjectSession } from 'nestjs-db-context';

declare class Account {
  id: number;
  balance: number;
}

@Injectable()
export class AccountService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async deposit(id: number, cents: number): Promise<Account> {
    const account = await this.session.findOneOrFail(Account, id); // BEGIN happens here
    account.balance += cents;
    return account; // flushed and committed before the client hears of it
  }
}

@Module({
  imports: [
    DbContextModule.forRoot({
      connections: [defineConfig({ clientUrl: 'postgres://localhost/app', entities: [Account] })],
    }),
  ],
  providers: [AccountService],
})
export class AppModule {}
