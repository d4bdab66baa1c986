import { Module } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { Account } from './account.entity.js';
import { AccountsController } from './accounts.controller.js';
import { AccountsService } from './accounts.service.js';
import { SessionsController } from './sessions.controller.js';

@Module({
  // Adds the entity to the connection `default` and provides `@InjectRepository(Account)`.
  imports: [DbContextModule.forFeature([Account])],
  controllers: [AccountsController, SessionsController],
  providers: [AccountsService],
  exports: [AccountsService],
})
export class AccountsModule {}
