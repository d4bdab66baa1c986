import { Module } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { AccountsModule } from '../accounts/accounts.module.js';
import { StatementController } from './statement.controller.js';
import { Transfer } from './transfer.entity.js';
import { TransfersController } from './transfers.controller.js';
import { TransfersService } from './transfers.service.js';

@Module({
  imports: [AccountsModule, DbContextModule.forFeature([Transfer])],
  controllers: [TransfersController, StatementController],
  providers: [TransfersService],
})
export class TransfersModule {}
