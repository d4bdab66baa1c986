import { Module, type DynamicModule } from '@nestjs/common';

import { AppModule as BankModule, type DatabaseUrls } from '../01-basic/app.module.js';
import { HabitsController } from './habits/habits.controller.js';

/** The bank of the first sample, which has the inspector, with bad habits to look at. */
@Module({})
export class AppModule {
  static register(urls: DatabaseUrls): DynamicModule {
    return {
      module: AppModule,
      imports: [BankModule.register(urls)],
      controllers: [HabitsController],
    };
  }
}
